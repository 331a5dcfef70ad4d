mod flow;
mod requests;
mod world;
