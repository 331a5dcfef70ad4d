//! What a run is: everything follows from its plan, and the plan from one token.
//!
//! A short token, `binary:42`, draws the plan from the number. A full one says what was drawn,
//! `binary:4:twins:partition:calm:ideal:42`, so that it means the same run when more strategies
//! are there to draw from; failures are reported and kept with full tokens.

use crate::world::Shape;
use crate::wormhole::MISHAPS;
use maftia_base::PartySet;
use maftia_sim::Random;
use std::fmt;
use std::sync::Arc;

/// One run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Which protocol.
    pub protocol: &'static str,
    /// Which group.
    pub shape: Shape,
    /// What the corrupt servers do.
    pub conduct: &'static str,
    /// What the network does.
    pub network: &'static str,
    /// What happens to memories and disks.
    pub storage: &'static str,
    /// With the cryptography of production?
    pub real: bool,
    /// Decides the rest.
    pub number: u64,
    /// What a [scripted](crate::fuzz) run follows; empty in all others.
    pub script: Arc<[u8]>,
}

/// What a caller insists on.
#[derive(Clone, Debug, Default)]
pub struct Wishes {
    /// This conduct or network.
    pub adversary: Option<&'static str>,
    /// This group.
    pub shape: Option<Shape>,
    /// This suite.
    pub real: Option<bool>,
}

/// How runs of one protocol may be drawn.
#[derive(Clone, Debug)]
pub struct Choices {
    /// The protocol.
    pub protocol: &'static str,
    /// Groups, each with the sum of the parts of a hundred of it and those before.
    pub shapes: &'static [(u64, Shape)],
    /// What corrupt servers can do.
    pub conducts: Vec<&'static str>,
    /// What the network can do.
    pub networks: Vec<&'static str>,
    /// What can happen to servers.
    pub storages: Vec<&'static str>,
    /// What else can happen to servers, if a token says so.
    pub unlisted: Vec<&'static str>,
    /// In which of 1000 runs the real suite is used.
    pub real_permille: u32,
}

impl Choices {
    /// The plan of run `number`.
    pub fn draw(&self, number: u64, wishes: &Wishes) -> Plan {
        let mut random = Random::new(number ^ 0x5eed_0f71);
        let part = random.below(100);
        let shape = self.shapes.iter().find(|(until, _)| part < *until);
        let shape = shape.map_or(Shape::Four, |(_, shape)| *shape);
        let pick = |random: &mut Random, from: &[&'static str]| {
            from[random.below(from.len() as u64) as usize]
        };
        let conduct = pick(&mut random, &self.conducts);
        let network = pick(&mut random, &self.networks);
        let storage = pick(&mut random, &self.storages);
        let real = random.chance(self.real_permille);
        let wished = |from: &[&'static str]| wishes.adversary.filter(|name| from.contains(name));
        Plan {
            protocol: self.protocol,
            shape: wishes.shape.unwrap_or(shape),
            conduct: wished(&self.conducts).unwrap_or(conduct),
            network: wished(&self.networks).unwrap_or(network),
            storage: wished(&self.storages).unwrap_or(storage),
            real: wishes.real.unwrap_or(real),
            number,
            script: Arc::default(),
        }
    }

    /// The plan that a token names, short or full.
    pub fn parse(&self, token: &str) -> Result<Plan, String> {
        let parts: Vec<&str> = token.split(':').collect();
        let number = |text: &str| {
            text.parse::<u64>().map_err(|_| format!("`{text}` in `{token}` is no number"))
        };
        let known = |name: &str, from: &[&'static str], what: &str| {
            from.iter()
                .find(|known| **known == name)
                .copied()
                .ok_or_else(|| format!("`{name}` is no {what} of {}", self.protocol))
        };
        match parts[..] {
            [_, text] => Ok(self.draw(number(text)?, &Wishes::default())),
            [_, shape, conduct, network, storage, suite, text] => Ok(Plan {
                protocol: self.protocol,
                shape: Shape::parse(shape).ok_or_else(|| format!("`{shape}` is no group"))?,
                conduct: known(conduct, &self.conducts, "conduct")?,
                network: known(network, &self.networks, "network")?,
                storage: known(storage, &self.unlisted, "storage")
                    .or_else(|_| known(storage, &self.storages, "storage"))?,
                real: match suite {
                    "real" => true,
                    "ideal" => false,
                    other => return Err(format!("the suite is `real` or `ideal`, not `{other}`")),
                },
                number: number(text)?,
                script: Arc::default(),
            }),
            _ => Err(format!(
                "`{token}` is no token: PROTOCOL:NUMBER, or \
                 PROTOCOL:GROUP:CONDUCT:NETWORK:STORAGE:SUITE:NUMBER"
            )),
        }
    }
}

impl Plan {
    /// A source of chance for one purpose.
    pub fn random(&self, purpose: u64) -> Random {
        Random::new(self.number.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ purpose)
    }

    /// The servers that the adversary owns: a largest corruptible set, seldom none. One that is
    /// [wiped](Self::wiped) counts as corrupt for a while, and is none of them.
    pub fn corrupt(&self) -> PartySet {
        let mut corrupt = self.owned();
        if self.storage != "wiped-beyond" {
            corrupt = corrupt.difference(self.wiped());
        }
        corrupt
    }

    /// Who loses all but its keys in the course of the run, or its trusted component: within what
    /// the structure allows, or, beside a full set of corrupt ones, beyond it.
    pub fn wiped(&self) -> PartySet {
        let (owned, mut random) = (self.owned(), self.random(5));
        let all = PartySet::all(self.shape.n());
        let is_mishap = MISHAPS.iter().any(|(name, _)| *name == self.storage);
        let among = match self.storage {
            name if name == "wiped" || is_mishap => match owned.is_empty() {
                true => self.shape.quorums().corruptible(),
                false => owned,
            },
            "wiped-beyond" => all.difference(owned),
            _ => return PartySet::EMPTY,
        };
        let among: Vec<_> = among.iter().collect();
        PartySet::from_iter([among[random.below(among.len() as u64) as usize]])
    }

    fn owned(&self) -> PartySet {
        let mut random = self.random(1);
        if self.conduct == "none" {
            return PartySet::EMPTY;
        }
        let sets = self.shape.quorums().largest_corruptible();
        sets[random.below(sets.len() as u64) as usize]
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { protocol, shape, conduct, network, storage, real, number, .. } = self;
        let suite = if *real { "real" } else { "ideal" };
        write!(f, "{protocol}:{}:{conduct}:{network}:{storage}:{suite}:{number}", shape.name())
    }
}
