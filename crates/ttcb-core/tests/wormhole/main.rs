//! Several local components on a simulated control channel, and what must hold of what they tell.

mod agreement;
mod clocks;
mod found;
mod frames;
mod identifiers;
mod order;
mod timing;
mod world;
