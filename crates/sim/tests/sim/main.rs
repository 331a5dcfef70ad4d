//! The simulator under test: each promise of its documentation, and each checker seen firing.

mod adversaries;
mod checkers;
mod contract;
mod explore;
mod schedulers;
mod toy;
