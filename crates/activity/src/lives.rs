//! Lives: in the hybrid configuration a server rejoins with a new life of its trusted component.
//!
//! A component that reboots has forgotten what it identified, and its server counts as corrupt: of
//! two identifiers at one place one may be of each life. A server that lost its log has its
//! component restarted, too, so that there is one way back. It is that of [`crate::rejoin`], and
//! the *number* is the life itself: the digest of the key that the component made when it booted
//! and of the number that its host's key guard gave to the boot. The guard's certificate travels
//! beside it.
//!
//! # Promise
//! - *Fresh*: as there. A life that began after the log was lost has a number that nobody knew
//!   before, so a server that is admitted with it signed nothing in the epoch before.
//! - *One life*: in each epoch the group knows one life of each component, and no life of an
//!   earlier epoch that another has followed since.
//! - *Proved*: a life is admitted only if the key guard of that server's host certified it.
//! - *Same everywhere*: a function of the order, and part of the state.
//!
//! # Rules
//! - J1. Asked by a server over its own link with a certified life: a server checks the certificate
//!   with the key of the guard, which the configuration fixes, and that the life may follow the
//!   present one ([`Member::may_become`](maftia_agreement::hybrid::Member::may_become)); then it
//!   says so in its lane.
//! - J2. As there. A life that may not follow the present one, or what is approved, is passed over.
//! - J4. With the next epoch the approved lives take the place of the present ones.
//!
//! # Why it holds
//! *Proved.* The certificate is not checked when the order is applied: what is approved was said by
//! lanes of which one has an honest owner (J2), and that one has checked it (J1). *One life.* What
//! the guard certifies later has a greater number, and J2 compares numbers: a question that is
//! replayed, or a life that is certified and was closed, is passed over by all. If a guard is
//! rolled back, its lives are passed over until it has counted on. *Same everywhere.* J2 and J4
//! look at the state alone.
//!
//! # What it needs
//! - A server whose log is lost, or that is taken back from an intruder, has its component
//!   restarted *afterwards*, before it asks: a life in which the server has signed what it forgot
//!   must not be admitted.
//! - Enough servers are there to order the admission. If more components reboot at once than
//!   servers may be corrupt, as after a power cut of all, nobody admits anybody, and nothing wrong
//!   is said: that takes operators ([`crate::Testimony`]).
//!
//! # Bounds
//! For each server what each of the others said last, and what is approved.

use crate::AgreedTime;
use crate::rejoin::{Nonce, Rejoins};
use crate::session::{Entry, map};
use maftia_agreement::hybrid::{Life, Members};
use maftia_base::wire::{List, wire_struct};
use maftia_base::{AdversaryStructure, Digest, Epoch, PARTIES_MAX, Party, PartySet};
use std::collections::BTreeMap;

impl Nonce {
    /// The number of a life: nobody knew it before the life began.
    pub fn of_life(life: &Life) -> Self {
        Self(Digest::of_encoded("maftia rejoin with a life", life))
    }
}

/// The present life of each server's component, and those that may follow.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Lives {
    members: Members,
    /// For each server, the lives that are asked for or approved.
    offered: BTreeMap<Party, BTreeMap<Nonce, Life>>,
}

impl Lives {
    pub(crate) fn new(members: Members) -> Self {
        Self { members, offered: BTreeMap::new() }
    }

    /// In the present epoch.
    pub(crate) fn members(&self) -> &Members {
        &self.members
    }

    /// May this life follow the present one, and what is approved? (J2)
    pub(crate) fn may_follow(&self, rejoins: &Rejoins, party: Party, life: &Life) -> bool {
        let approved = rejoins.approved(party).and_then(|nonce| self.offered(party, nonce));
        let follows = |approved: &Life| approved == life || approved.number < life.number;
        self.members.member(party).is_some_and(|member| member.may_become(life))
            && approved.is_none_or(follows)
    }

    fn offered(&self, party: Party, nonce: Nonce) -> Option<&Life> {
        self.offered.get(&party)?.get(&nonce)
    }

    /// This life of `party` is asked for, or approved.
    pub(crate) fn offer(&mut self, party: Party, life: Life) {
        self.offered.entry(party).or_default().insert(Nonce::of_life(&life), life);
    }

    /// `voter` says that `party` asks with this life, which is certified. (J2)
    pub(crate) fn ask(
        &mut self,
        rejoins: &mut Rejoins,
        structure: &AdversaryStructure,
        voter: Party,
        (party, life): (Party, Life),
        now: AgreedTime,
    ) {
        if self.may_follow(rejoins, party, &life) {
            self.offer(party, life);
            rejoins.ask(structure, voter, (party, Nonce::of_life(&life)), now);
            self.forget_unasked(rejoins);
        }
    }

    /// An epoch has ended; `next` begins. Returns whose life is another. (J4)
    pub(crate) fn on_epoch_ended(
        &mut self,
        rejoins: &mut Rejoins,
        next: Epoch,
        now: AgreedTime,
    ) -> PartySet {
        let admitted = rejoins.on_epoch_ended(next, now);
        let mut lives: Vec<Life> = self.members.iter().map(|member| member.life).collect();
        for party in admitted.iter() {
            let nonce = rejoins.admission(party).expect("it was just admitted").nonce;
            let life = self.offered(party, nonce).expect("what is approved is kept");
            lives[party.index()] = *life;
        }
        self.members = self.members.with_lives(&lives).expect("as many as before");
        for party in admitted.iter() {
            let (offered, member) = (self.offered.get(&party), self.members.member(party));
            let (Some(offered), Some(member)) = (offered, member) else { continue };
            let may =
                |nonce: &Nonce| offered.get(nonce).is_some_and(|life| member.may_become(life));
            rejoins.retain_asked(party, may);
        }
        self.forget_unasked(rejoins);
        admitted
    }

    fn forget_unasked(&mut self, rejoins: &Rejoins) {
        self.offered.retain(|party, offered| {
            offered.retain(|nonce, _| rejoins.is_open(*party, *nonce));
            !offered.is_empty()
        });
    }

    pub(crate) fn image(&self) -> LivesImage {
        let offered = self.offered.iter().map(|(party, offered)| {
            let lives = offered.values().copied().collect();
            Entry(*party, List::new(lives).expect("one for each server"))
        });
        let present = self.members.iter().map(|member| member.life).collect();
        LivesImage {
            present: List::new(present).expect("one for each server"),
            offered: List::new(offered.collect()).expect("one for each server"),
        }
    }

    /// The same servers with the lives of an image; `None` if it is not of as many.
    pub(crate) fn restored(&self, image: LivesImage) -> Option<Self> {
        let keyed = |lives: Offered| {
            lives.into_vec().into_iter().map(|life| (Nonce::of_life(&life), life)).collect()
        };
        let offered: BTreeMap<Party, Offered> = map(image.offered);
        let offered = offered.into_iter().map(|(party, lives)| (party, keyed(lives))).collect();
        Some(Self { members: self.members.with_lives(&image.present)?, offered })
    }
}

type Offered = List<Life, PARTIES_MAX>;

pub(crate) struct LivesImage {
    present: List<Life, PARTIES_MAX>,
    offered: List<Entry<Party, Offered>, PARTIES_MAX>,
}

wire_struct!(LivesImage { present, offered });

#[cfg(test)]
mod tests {
    use super::*;
    use crate::REJOIN_EVERY;
    use maftia_agreement::hybrid::Member;
    use maftia_ttcb_api::Host;

    fn p(index: usize) -> Party {
        Party::new(index)
    }

    fn life(number: u8) -> Life {
        Life { number: u64::from(number), key: [number; 32] }
    }

    struct World {
        lives: Lives,
        rejoins: Rejoins,
        structure: AdversaryStructure,
    }

    fn world() -> World {
        let member = |host| Member { host: Host(host), role: 0, guard: [9; 32], life: life(1) };
        World {
            lives: Lives::new(Members::new((0..5).map(member))),
            rejoins: Rejoins::default(),
            structure: AdversaryStructure::threshold(5, 2).expect("well-formed"),
        }
    }

    impl World {
        fn ask(&mut self, voters: &[usize], number: u8, now: u64) {
            for voter in voters {
                let question = (p(4), life(number));
                let (lives, rejoins) = (&mut self.lives, &mut self.rejoins);
                lives.ask(rejoins, &self.structure, p(*voter), question, AgreedTime(now));
            }
        }

        fn end(&mut self, next: u64, now: u64) -> PartySet {
            self.lives.on_epoch_ended(&mut self.rejoins, Epoch(next), AgreedTime(now))
        }

        fn present(&self) -> Life {
            self.lives.members().member(p(4)).expect("it is there").life
        }
    }

    #[test]
    fn a_life_that_an_honest_server_vouches_for_takes_the_place_of_the_present_one() {
        let mut world = world();
        world.ask(&[0, 1], 2, 5);
        assert!(world.end(1, 5).is_empty(), "both may be corrupt");
        assert_eq!(world.present(), life(1));
        world.ask(&[2], 2, 6);
        let image = world.lives.image();
        assert_eq!(world.lives.restored(image).as_ref(), Some(&world.lives));
        assert_eq!(world.end(2, 7), PartySet::from_iter([p(4)]));
        assert_eq!(world.present(), life(2));
        let nonce = Nonce::of_life(&life(2));
        assert_eq!(world.rejoins.admission(p(4)).expect("admitted").nonce, nonce);
        assert!(world.lives.offered.is_empty());
    }

    #[test]
    fn neither_the_present_life_nor_a_closed_one_is_admitted_however_many_vouch_for_it() {
        let mut world = world();
        world.ask(&[0, 1, 2], 3, 5);
        world.end(1, 5);
        for number in [1, 2, 3] {
            world.ask(&[0, 1, 2, 3], number, 5 + 2 * REJOIN_EVERY);
            assert!(!world.rejoins.wants_epoch_change(), "life {number}");
            assert!(world.lives.offered.is_empty());
        }
    }

    #[test]
    fn an_earlier_life_than_the_approved_one_does_not_take_its_place() {
        let mut world = world();
        world.ask(&[3], 2, 5);
        world.ask(&[0, 1, 2], 3, 5);
        world.ask(&[0, 1], 2, 5);
        world.end(1, 5);
        assert_eq!(world.present(), life(3));
        assert!(world.lives.offered.is_empty(), "what was said of closed lives is forgotten");
        assert!(world.rejoins.due(&world.structure).is_none());
    }

    #[test]
    fn the_next_life_waits_until_the_last_admission_is_long_enough_ago() {
        let mut world = world();
        world.ask(&[0, 1, 2], 2, 5);
        world.end(1, 5);
        world.ask(&[0, 1, 2], 3, 6);
        assert!(world.end(2, 7).is_empty());
        let image = world.lives.image();
        assert_eq!(world.lives.restored(image).as_ref(), Some(&world.lives));
        world.rejoins.settle(&world.structure, AgreedTime(5 + REJOIN_EVERY));
        world.end(3, 5 + REJOIN_EVERY);
        assert_eq!(world.present(), life(3));
    }

    #[test]
    fn an_image_of_another_group_is_refused() {
        let world = world();
        let mut image = world.lives.image();
        image.present = List::new(vec![life(1)]).expect("short");
        assert!(world.lives.restored(image).is_none());
    }
}
