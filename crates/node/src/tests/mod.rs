mod core;
mod doors;
mod engine;
mod loopback;
mod storage;
mod toy;
