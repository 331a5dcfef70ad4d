//! The `maftia` binary's commands, as a library so that they can be tested.
#![forbid(unsafe_code)]

pub mod config;
