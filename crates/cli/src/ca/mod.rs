//! The certification authority on the command line.

pub mod ceremony;
pub mod policy;
