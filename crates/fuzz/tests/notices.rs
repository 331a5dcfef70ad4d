//! Would it notice? Decoders that are wrong on purpose, and protocols of which one expression is.

use maftia_base::wire::{Buf, BufMut, EncodeSize, Error, Read, ReadExt, Wire, Write};
use maftia_drill::canary::{Canary, REGISTRY, Song};
use maftia_drill::course::course;
use maftia_drill::fuzz::play;
use maftia_drill::run::Options;
use maftia_fuzz::Mutants;
use maftia_fuzz::decoders::decodes;
use std::panic::catch_unwind;

/// A byte that says which kind, a length, and as many bytes.
struct Note<const WRONG: u8>(Vec<u8>);

/// Takes as much memory as its input asks for.
const GREEDY: u8 = 0;
/// Panics on a kind that nobody sends.
const BRITTLE: u8 = 1;
/// Takes two kinds for the same.
const LAX: u8 = 2;
/// Does none of these.
const SOUND: u8 = 3;

impl<const WRONG: u8> Write for Note<WRONG> {
    fn write(&self, buf: &mut impl BufMut) {
        0u8.write(buf);
        (self.0.len() as u32).write(buf);
        buf.put_slice(&self.0);
    }
}

impl<const WRONG: u8> EncodeSize for Note<WRONG> {
    fn encode_size(&self) -> usize {
        5 + self.0.len()
    }
}

impl<const WRONG: u8> Read for Note<WRONG> {
    type Cfg = ();
    fn read_cfg(buf: &mut impl Buf, _: &()) -> Result<Self, Error> {
        match u8::read(buf)? {
            0 => {}
            1 if WRONG == LAX => {}
            kind => {
                assert!(WRONG != BRITTLE || kind < 0x80, "a kind that nobody sends");
                return Err(Error::InvalidEnum(kind));
            }
        }
        let len = u32::read(buf)? as usize;
        let most = if WRONG == GREEDY { 1 << 24 } else { 64 };
        let mut bytes = Vec::with_capacity(len.min(most));
        for _ in 0..len {
            bytes.push(u8::read(buf)?);
        }
        Ok(Self(bytes))
    }
}

/// As many changed inputs as each decoder is given in `cargo test`.
const INPUTS: u32 = 15_000;

/// After how many changed inputs it is noticed.
fn noticed<T: Wire>() -> Option<u32> {
    let honest = Note::<SOUND>(vec![1, 2, 3]).to_wire().to_vec();
    let mut mutants = Mutants::like(vec![honest], 0);
    (1..=INPUTS).find(|_| {
        let input = mutants.draw();
        catch_unwind(|| decodes::<T>(&input)).is_err()
    })
}

#[test]
fn greedy_brittle_and_lax_decoders_are_noticed() {
    let each = [
        ("greedy", noticed::<Note<GREEDY>>()),
        ("brittle", noticed::<Note<BRITTLE>>()),
        ("lax", noticed::<Note<LAX>>()),
    ];
    println!("noticed after so many inputs: {each:?}");
    assert!(each.iter().all(|(_, inputs)| inputs.is_some()), "{each:?}");
    assert_eq!(noticed::<Note<SOUND>>(), None, "and a sound one is left in peace");
}

/// After how many scripts a checker notices that this canary sings.
fn heard(canary: &Canary, scripts_max: u32) -> Option<u32> {
    let _song = Song::of(canary.name);
    let mut mutants = Mutants::of("scripted_courses", 0);
    (1..=scripts_max).find(|_| {
        let script = mutants.draw();
        canary.courses.iter().any(|name| {
            let course = course(name).expect("the registry names courses that exist");
            !play(course, &script, Options::default()).1.complaints.is_empty()
        })
    })
}

/// Scripts for each canary: a thirtieth of what each protocol is given.
const SCRIPTS: u32 = 100;

/// In percent: the drill's strategies, which know what a protocol rests on, find nearly all.
/// Scripts know nothing.
const HEARD_PERCENT_MIN: usize = 50;

#[test]
fn scripts_alone_notice_most_canaries() {
    let scripts = SCRIPTS * std::env::var("MAFTIA_FUZZ").map_or(1, |text| text.parse().unwrap());
    let (mut heard_of, mut missed) = (Vec::new(), Vec::new());
    for canary in REGISTRY.iter().filter(|canary| !canary.real) {
        match heard(canary, scripts) {
            Some(count) => heard_of.push((count, canary.name)),
            None => missed.push(canary.name),
        }
    }
    heard_of.sort();
    let all = heard_of.len() + missed.len();
    println!("{} of {all} within {scripts} scripts: {heard_of:?}", heard_of.len());
    println!("missed: {missed:?}");
    assert!(heard_of.len() * 100 >= all * HEARD_PERCENT_MIN, "missed: {missed:?}");
}
