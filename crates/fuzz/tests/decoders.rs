//! One target for each type with a codec.

use maftia_crypto::RealSuite as Real;
use maftia_fuzz::decoders::decodes;
use maftia_fuzz::{targets, wire_types};

type Heads = maftia_agreement::atomic::Heads<Real>;

macro_rules! each {
    ($($name:ident: $type:ty;)*) => { targets! { $( $name(15_000) => decodes::<$type>; )* } };
}

wire_types!(each);
