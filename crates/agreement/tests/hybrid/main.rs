//! The total order in the hybrid configuration: n >= 2f+1 servers with trusted components.

mod order;
#[allow(dead_code)]
#[path = "../atomic/world.rs"]
mod world;
