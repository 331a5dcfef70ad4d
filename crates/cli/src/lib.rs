//! The `maftia` binary's commands, as a library so that they can be tested.
#![forbid(unsafe_code)]

pub mod args;
pub mod config;
pub mod deal;
mod failure;
pub mod home;
pub mod init;
pub mod judge;
pub mod process;

pub use failure::Failure;
