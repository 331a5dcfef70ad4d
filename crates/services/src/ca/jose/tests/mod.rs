pub(crate) mod signer;

mod binding;
mod jwk;
mod jws;
