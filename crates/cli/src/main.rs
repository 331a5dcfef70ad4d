//! The `maftia` binary.
#![forbid(unsafe_code)]

fn main() {
    let _ = maftia::config::load(std::path::Path::new("group.toml"));
}
