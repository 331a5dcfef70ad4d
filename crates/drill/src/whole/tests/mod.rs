mod disk;
mod linear;
