//! Inputs that differ a little from what honest programs make, always the same ones.

use maftia_sim::Random;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;

/// Longest input that changes lead to.
const INPUT_BYTES_MAX: usize = 64 << 10;

/// Bytes at which decoders branch.
const EDGES: [u8; 8] = [0, 1, 2, 0x7f, 0x80, 0x81, 0xfe, 0xff];

/// A length that no input has, as the wire writes it: in full, and as a number of variable length.
const LENGTHS: [&[u8]; 3] =
    [&[0xff, 0xff, 0xff, 0xff, 0x0f], &[0x80, 0x80, 0x80, 0x80, 0x01], &[0x7f, 0xff, 0xff, 0xff]];

/// The folder in which the corpus of a target is.
pub fn corpus(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/__fuzz__").join(name).join("corpus")
}

/// Tries `rounds` changed inputs, times `MAFTIA_FUZZ`; what fails is kept beside the build.
pub fn mutants(name: &str, rounds: u32, target: fn(&[u8])) {
    let (times, seed) = (number("MAFTIA_FUZZ", 1), number("MAFTIA_FUZZ_SEED", 0));
    let mut mutants = Mutants::of(name, seed);
    for _ in 0..u64::from(rounds) * times {
        let input = mutants.draw();
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| target(&input))) {
            keep(name, &input);
            resume_unwind(panic);
        }
    }
}

fn number(name: &str, otherwise: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} is a number, not {text}")),
        Err(_) => otherwise,
    }
}

/// Says where an input is that failed.
fn keep(name: &str, input: &[u8]) {
    let path = std::env::temp_dir().join(format!("maftia-fuzz-{name}-{}", std::process::id()));
    match fs::write(&path, input) {
        Ok(()) => eprintln!(
            "`{name}` fails with the {} bytes in {}; in crates/fuzz/tests/__fuzz__/{name}/crashes \
             they are tried first, for ever",
            input.len(),
            path.display()
        ),
        Err(error) => eprintln!("`{name}` fails with {input:02x?}, not written: {error}"),
    }
}

/// An endless supply of inputs.
pub struct Mutants {
    kept: Vec<Vec<u8>>,
    random: Random,
}

impl Mutants {
    /// Made of the corpus of a target.
    pub fn of(name: &str, seed: u64) -> Self {
        let files = fs::read_dir(corpus(name)).into_iter().flatten().flatten();
        let mut paths: Vec<PathBuf> = files.map(|file| file.path()).collect();
        paths.sort();
        let kept = paths.iter().filter_map(|path| fs::read(path).ok()).collect();
        let own = |seed: u64, byte| seed.wrapping_mul(31).wrapping_add(u64::from(byte));
        Self::like(kept, name.bytes().fold(seed, own))
    }

    /// Made of these.
    pub fn like(kept: Vec<Vec<u8>>, seed: u64) -> Self {
        Self { kept, random: Random::new(seed) }
    }

    /// The next one.
    pub fn draw(&mut self) -> Vec<u8> {
        if self.kept.is_empty() || self.below(8) == 0 {
            let bits = self.below(10);
            let len = self.below(1 << bits);
            return self.noise(len);
        }
        let chosen = self.below(self.kept.len());
        let mut bytes = self.kept[chosen].clone();
        for _ in 0..1 + self.below(4) {
            self.change(&mut bytes);
        }
        bytes.truncate(INPUT_BYTES_MAX);
        bytes
    }

    fn below(&mut self, bound: usize) -> usize {
        self.random.below(bound.max(1) as u64) as usize
    }

    fn noise(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.random.bits() as u8).collect()
    }

    fn change(&mut self, bytes: &mut Vec<u8>) {
        let (place, end) = (self.below(bytes.len()), bytes.len());
        let until = place + self.below((end - place).min(64) + 1);
        match self.below(9) {
            0 if end > 0 => bytes[place] ^= 1 << self.below(8),
            1 if end > 0 => bytes[place] = EDGES[self.below(EDGES.len())],
            2 if end > 0 => bytes[place] = self.below(256) as u8,
            3 => drop(bytes.drain(place..until)),
            4 => {
                let again = bytes[place..until].to_vec();
                let to = self.below(end + 1);
                bytes.splice(to..to, again);
            }
            5 => bytes.truncate(place),
            6 => {
                let len = 1 + self.below(8);
                let noise = self.noise(len);
                bytes.splice(place..place, noise);
            }
            7 => {
                let other = self.below(self.kept.len());
                let from = self.below(self.kept[other].len());
                bytes.truncate(place);
                bytes.extend_from_slice(&self.kept[other][from..]);
            }
            _ => {
                let length = LENGTHS[self.below(LENGTHS.len())];
                let until = (place + self.below(2) * length.len()).min(end);
                bytes.splice(place..until, length.iter().copied());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_draws_the_same_inputs_and_another_seed_others() {
        let drawn = |seed| {
            let mut mutants = Mutants::of("group_toml", seed);
            (0..200).map(|_| mutants.draw()).collect::<Vec<_>>()
        };
        assert_eq!(drawn(1), drawn(1));
        assert_ne!(drawn(1), drawn(2));
    }

    #[test]
    fn many_inputs_get_past_the_decoder_of_a_message() {
        use maftia_base::wire::Wire;
        type Message = maftia_activity::Message<maftia_crypto::RealSuite>;
        let mut mutants = Mutants::of("activity_message", 0);
        let decodes = |_: &u32| Message::from_wire(mutants.draw().into()).is_ok();
        let decoded = (0..2_000).filter(decodes).count();
        assert!((200..1_800).contains(&decoded), "{decoded} of 2000 decode");
    }

    #[test]
    fn most_inputs_resemble_what_is_kept_and_hardly_any_is_it() {
        let mut mutants = Mutants::of("group_toml", 1);
        assert!(!mutants.kept.is_empty(), "the corpus is there");
        let drawn: Vec<_> = (0..400).map(|_| mutants.draw()).collect();
        let alike = |bytes: &Vec<u8>| {
            mutants.kept.iter().any(|kept| {
                let start = 16.min(kept.len());
                bytes.windows(start).any(|window| window == &kept[..start])
                    || bytes.ends_with(&kept[kept.len() - start..])
            })
        };
        assert!(drawn.iter().filter(|bytes| alike(bytes)).count() > 200);
        assert!(drawn.iter().filter(|bytes| mutants.kept.contains(bytes)).count() < 40);
    }
}
