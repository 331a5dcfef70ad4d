//! Every canary: where it is, and what is broken while it sings.

mod hybrid;
mod lower;
mod upper;

use hybrid::HYBRID;
use lower::LOWER;
use upper::UPPER;

/// One deliberately broken expression.
#[derive(Clone, Copy, Debug)]
pub struct Canary {
    /// Its name in the code.
    pub name: &'static str,
    /// Its file.
    pub place: &'static str,
    /// What is broken.
    pub broken: &'static str,
    /// The courses in which it is hunted for.
    pub courses: &'static [&'static str],
    /// Does it live in the cryptography of production, which only real runs reach?
    pub real: bool,
}

const fn canary(
    real: bool,
    name: &'static str,
    place: &'static str,
    courses: &'static [&'static str],
    broken: &'static str,
) -> Canary {
    Canary { name, place, broken, courses, real }
}

const COUNT: usize = LOWER.len() + UPPER.len() + HYBRID.len();

const fn joined() -> [Canary; COUNT] {
    let (mut all, mut at) = ([LOWER[0]; COUNT], 0);
    while at < COUNT {
        all[at] = match at {
            _ if at < LOWER.len() => LOWER[at],
            _ if at < LOWER.len() + UPPER.len() => UPPER[at - LOWER.len()],
            _ => HYBRID[at - LOWER.len() - UPPER.len()],
        };
        at += 1;
    }
    all
}

/// All of them.
pub const REGISTRY: &[Canary] = &joined();
