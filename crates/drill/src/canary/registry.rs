//! Every canary: where it is, and what is broken while it sings.

/// One deliberately broken expression.
#[derive(Debug)]
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
    name: &'static str,
    place: &'static str,
    courses: &'static [&'static str],
    broken: &'static str,
) -> Canary {
    Canary { name, place, broken, courses, real: false }
}

/// All of them.
pub const REGISTRY: &[Canary] = &[];
