mod disk;
mod linear;
mod secrecy;
