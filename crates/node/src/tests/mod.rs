mod core;
mod engine;
mod loopback;
mod toy;
