//! The promises of the broadcasts, the coin and binary agreement, under adversaries.

mod binary;
mod checkpoint;
mod coded;
mod coded_links;
mod coin;
mod consistent;
mod dissemination;
mod reliable;
mod world;
