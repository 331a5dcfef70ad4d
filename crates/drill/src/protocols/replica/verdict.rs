//! What must hold of a run of replicas in the end. Nothing here asks production's predicates: it
//! compares what clients were told with what the servers remember.

use super::book::{Entry, Seal};
use super::clients::{Asked, document, receipt};
use super::world::{Front, World, book, issued};
use super::{Hull, Sut, stamp};
use crate::check::{Complaint, ensure};
use crate::world::DrillSuite;
use maftia_activity::client::ClientReply;
use maftia_activity::{AgreedTime, FrontEndReply, Refusal};
use maftia_base::Party;
use maftia_base::time::Time;
use maftia_base::wire::Bytes;
use maftia_crypto::KeyId;
use maftia_sim::Simulation;
use std::collections::{BTreeMap, BTreeSet};

/// A request for the book: who asked is in it.
struct Sought {
    request: Bytes,
    at: Time,
    answered: Option<(Time, ClientReply)>,
}

impl<S: DrillSuite> World<S> {
    /// Everything that is wrong.
    pub(super) fn verdicts<H: Hull<S>>(&self, sim: &Simulation<H::Protocol>) -> Vec<Complaint> {
        let mut complaints = std::mem::take(&mut self.post.borrow_mut().complaints);
        let honest: Vec<(Party, &Sut<S>)> = sim
            .honest()
            .iter()
            .filter_map(|party| Some((party, H::replica(sim.state(party)?))))
            .collect();
        let Some((_, longest)) = honest.iter().max_by_key(|(_, replica)| replica.position()) else {
            return complaints;
        };
        let Some(book) = book(longest) else { return complaints };
        let desk = self.desk.borrow();
        let mut sought: Vec<Sought> = Vec::new();
        for patron in desk.patrons.iter().filter(|patron| !patron.is_notarys()) {
            sought.extend(
                patron.asked.values().cloned().map(|Asked { request, at, answered }| Sought {
                    request,
                    at,
                    answered,
                }),
            );
        }
        sought.extend(desk.fronts.iter().map(sought_by_front));
        let stamped: Vec<Asked> = desk
            .patrons
            .iter()
            .filter(|patron| patron.is_notarys())
            .flat_map(|patron| patron.asked.values().cloned())
            .collect();
        let (_, latest) = self.readings(sim.now());
        let woken = self.woken(&book.woken, sim.now());
        let all = [
            once(&book.entries),
            owners(&book.entries),
            durable(&book.entries, &sought),
            self.timely(&book.entries, &sought, latest, &woken),
            self.tokens(&stamped, issued(longest).unwrap_or_default(), &woken),
            self.seals(&book.seals),
        ];
        complaints.extend(all.into_iter().filter_map(Result::err));
        complaints.extend(prefixes::<S>(&honest).err());
        if !self.may_stall {
            complaints.extend(even::<S>(&honest).err());
        }
        complaints
    }

    /// Agreed time does not go back, and stays within what honest clocks showed between question
    /// and answer.
    fn timely(
        &self,
        entries: &[Entry],
        sought: &[Sought],
        latest: u64,
        woken: &BTreeSet<u64>,
    ) -> Result<(), Complaint> {
        for pair in entries.windows(2) {
            ensure(pair[0].time <= pair[1].time, "time", || {
                format!("agreed time goes back at position {}", pair[1].position)
            })?;
        }
        let asked: BTreeMap<&[u8], &Sought> =
            sought.iter().map(|sought| (&sought.request[..], sought)).collect();
        let mut before = 0;
        for entry in entries {
            let time = entry.time.0;
            let known = asked.get(&entry.request[..]);
            let (not_before, not_after) = match known {
                Some(sought) => {
                    // Who is refused may find later that it took effect all the same.
                    let answered = sought.answered.as_ref();
                    let told = answered.filter(|(_, it)| !matches!(it, ClientReply::Refused(_)));
                    let until = told.map_or(latest, |(at, _)| self.readings(*at).1);
                    (self.readings(sought.at).0, until)
                }
                None => (self.readings(Time(0)).0, latest),
            };
            let holds = time <= not_after || time == before || woken.contains(&time);
            let holds = holds && time >= not_before;
            ensure(holds, "time", || {
                format!(
                    "position {} is dated {time}, not {not_before}..={not_after}",
                    entry.position
                )
            })?;
            before = time;
        }
        Ok(())
    }

    /// What the group signed for the state is signed by it.
    fn seals(&self, seals: &[Seal]) -> Result<(), Complaint> {
        let holds = |seal: &&Seal| {
            let (input, signature) = (seal.input(), &seal.signature);
            signature.is_empty()
                || S::is_threshold_signature(&self.keyrings[0], KeyId(0), &input, signature)
        };
        let wrong = seals.iter().find(|seal| !holds(seal));
        ensure(wrong.is_none(), "integrity", || format!("{wrong:?} is not signed by the group"))
    }

    /// Where agreed time was moved to wake a service, if an honest server's clock has been there.
    /// Servers vouch for that by their own clocks, also where batches have the components' time.
    fn woken(&self, woken: &[AgreedTime], now: Time) -> BTreeSet<u64> {
        let (_, latest) = self.servers_readings(now);
        let times = woken.iter().map(|time| time.0);
        times.filter(|time| self.is_hybrid() && *time <= latest).collect()
    }

    /// Tokens are for the documents that were sent in, each with a number of its own, dated as
    /// honest clocks allow; and no document was stamped twice.
    fn tokens(
        &self,
        stamped: &[Asked],
        issued: u64,
        woken: &BTreeSet<u64>,
    ) -> Result<(), Complaint> {
        let mut serials = BTreeSet::new();
        let mut answered = 0;
        for Asked { request, at, answered: reply } in stamped {
            let Some((until, reply)) = reply else { continue };
            let ClientReply::Signed { body, .. } = reply else {
                ensure(
                    matches!(reply, ClientReply::Refused(Refusal::UnknownSession)),
                    "validity",
                    || format!("the notary does not stamp a good query: {reply:?}"),
                )?;
                continue;
            };
            answered += 1;
            let document = document(request).expect("a query has its document");
            let stamp = stamp::read(body, &document);
            let stamp = stamp.ok_or_else(|| {
                Complaint::new("durability", "a token that is not for the document sent in")
            })?;
            let (not_before, not_after) = (self.readings(*at).0, self.readings(*until).1);
            let time = stamp.time.0;
            let holds = time >= not_before && (time <= not_after || woken.contains(&time));
            ensure(holds, "time", || {
                format!("a token is dated {:?}, not {not_before}..={not_after}", stamp.time)
            })?;
            ensure(serials.insert(stamp.serial), "once", || "a serial number twice".into())?;
        }
        ensure(issued >= answered, "durability", || {
            format!("{answered} tokens were given out, {issued} are remembered")
        })?;
        ensure(issued <= stamped.len() as u64, "once", || {
            format!("{issued} tokens for {} queries", stamped.len())
        })
    }
}

fn sought_by_front(front: &Front) -> Sought {
    let Front { request, at, answered, .. } = front.clone();
    let reply = |reply| match reply {
        FrontEndReply::Plain(body) => ClientReply::Plain(body),
        FrontEndReply::Signed { body, key, input, signature } => {
            ClientReply::Signed { key, input, body, signature }
        }
        FrontEndReply::Refused(refusal) => ClientReply::Refused(refusal),
    };
    Sought { request, at, answered: answered.map(|(at, found)| (at, reply(found))) }
}

/// Of each content one entry; of each number in a session one.
pub(super) fn once(entries: &[Entry]) -> Result<(), Complaint> {
    let mut seen = BTreeSet::new();
    for Entry { session, request, position, .. } in entries {
        // What a crook asks twice counts by its number: two contents under one number are one.
        let mut words = request.split(|byte| *byte == b':');
        let content = match words.next() {
            Some(b"x") => (*session, words.next().unwrap_or_default().to_vec()),
            _ => (0, request.to_vec()),
        };
        ensure(seen.insert(content), "once", || {
            let request = String::from_utf8_lossy(request);
            format!("{request} takes effect again at position {position}")
        })?;
    }
    Ok(())
}

/// A session is one client's.
pub(super) fn owners(entries: &[Entry]) -> Result<(), Complaint> {
    let mut owner: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
    for Entry { session, request, position, .. } in entries.iter().filter(|it| it.session != 0) {
        let mut words = request.split(|byte| *byte == b':');
        let by = match words.next() {
            Some(b"x") => b"x".to_vec(),
            _ => words.next().unwrap_or_default().to_vec(),
        };
        let first = owner.entry(*session).or_insert_with(|| by.clone());
        ensure(*first == by, "validity", || {
            format!("at position {position} somebody speaks in another's session")
        })?;
    }
    Ok(())
}

/// What was acknowledged is where it was said to be.
fn durable(entries: &[Entry], sought: &[Sought]) -> Result<(), Complaint> {
    for Sought { request, answered, .. } in sought {
        let Some((_, reply)) = answered else { continue };
        let text = String::from_utf8_lossy(request);
        if let ClientReply::Refused(refusal) = reply {
            // Nothing is acknowledged; a session of a rule-abiding client is never lost.
            let may_be = matches!(refusal, Refusal::Overloaded | Refusal::CatchingUp);
            ensure(may_be, "validity", || format!("{text} is refused: {refusal:?}"))?;
            continue;
        }
        let receipt = receipt(request, reply).ok_or_else(|| {
            Complaint::new("durability", format!("the answer to {text} is no receipt for it"))
        })?;
        let entry = entries.get((receipt.index as usize).wrapping_sub(1));
        let is_there = entry.is_some_and(|entry| {
            entry.request[..] == request[..] && entry.position == receipt.position
        });
        ensure(is_there, "durability", || format!("{text} is not where its client was told"))?;
    }
    Ok(())
}

/// One sequence, of which some may have more than others.
fn prefixes<S: DrillSuite>(honest: &[(Party, &Sut<S>)]) -> Result<(), Complaint> {
    for (one, first) in honest {
        for (other, second) in honest {
            let (Some(first), Some(second)) = (book(first), book(second)) else { continue };
            let common = first.entries.len().min(second.entries.len());
            ensure(first.entries[..common] == second.entries[..common], "order", || {
                format!("{one} and {other} have executed in different orders")
            })?;
        }
    }
    Ok(())
}

/// When nothing is left to happen, all have the same.
fn even<S: DrillSuite>(honest: &[(Party, &Sut<S>)]) -> Result<(), Complaint> {
    for pair in honest.windows(2) {
        let [(one, first), (other, second)] = pair else { continue };
        ensure(first.digest() == second.digest(), "state", || {
            let of = |replica: &Sut<S>| (replica.epoch(), replica.position(), replica.marks());
            format!("{one} ends at {:?}, {other} at {:?}", of(first), of(second))
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::book::Receipt;
    use super::*;
    use crate::plan::Plan;
    use crate::world::Shape;
    use maftia_activity::AgreedTime;
    use maftia_base::wire::{Blob, Encode};
    use maftia_crypto::IdealSuite;
    use maftia_sim::{CLOCK_START, Random};

    fn entry(position: u64, session: u64, request: &str) -> Entry {
        let time = AgreedTime(CLOCK_START.0 + 10 * position);
        let request = Blob::new(request.to_owned().into_bytes()).expect("short");
        Entry { position, time, session, request }
    }

    fn fired(verdict: Result<(), Complaint>) -> &'static str {
        verdict.err().map_or("nothing", |complaint| complaint.checker)
    }

    fn answered(request: &str, index: u64, position: u64) -> Sought {
        let body = Receipt { index, position }.encode();
        let answered = Some((Time(90), ClientReply::Plain(body)));
        Sought { request: request.to_owned().into(), at: Time(0), answered }
    }

    #[test]
    fn what_takes_effect_twice_is_noticed_whoever_asked_for_it() {
        let book = [entry(1, 7, "p:c1:1"), entry(2, 7, "p:c1:2"), entry(3, 8, "x:1:0")];
        assert_eq!(fired(once(&book)), "nothing");
        assert_eq!(fired(once(&[entry(1, 7, "p:c1:1"), entry(2, 9, "p:c1:1")])), "once");
        let two_contents = [entry(1, 8, "x:1:0"), entry(2, 8, "x:1:1")];
        assert_eq!(fired(once(&two_contents)), "once", "one number, two contents");
        assert_eq!(fired(once(&[entry(1, 8, "x:1:0"), entry(2, 9, "x:1:0")])), "nothing");
    }

    #[test]
    fn who_speaks_in_anothers_session_is_noticed() {
        assert_eq!(fired(owners(&[entry(1, 7, "p:c1:1"), entry(2, 7, "s:c1:2")])), "nothing");
        assert_eq!(fired(owners(&[entry(1, 7, "p:c1:1"), entry(2, 7, "x:2:0")])), "validity");
        assert_eq!(fired(owners(&[entry(1, 7, "p:c1:1"), entry(2, 7, "p:c2:1")])), "validity");
    }

    #[test]
    fn what_was_acknowledged_and_is_gone_or_elsewhere_is_noticed() {
        let book = [entry(4, 7, "p:c1:1"), entry(6, 7, "p:c1:2")];
        assert_eq!(fired(durable(&book, &[answered("p:c1:2", 2, 6)])), "nothing");
        assert_eq!(fired(durable(&book, &[answered("p:c1:3", 3, 7)])), "durability");
        assert_eq!(fired(durable(&book, &[answered("p:c1:2", 1, 6)])), "durability");
        assert_eq!(fired(durable(&book, &[answered("p:c1:2", 2, 5)])), "durability");
        let mut lost = answered("p:c1:2", 2, 6);
        lost.answered = Some((Time(9), ClientReply::Refused(Refusal::UnknownSession)));
        assert_eq!(fired(durable(&book, &[lost])), "validity");
    }

    fn world() -> World<IdealSuite> {
        let plan = Plan {
            protocol: "replica",
            shape: Shape::Four,
            conduct: "none",
            network: "random",
            storage: "calm",
            real: false,
            number: 1,
            script: Default::default(),
        };
        World::new(&plan, false, &mut Random::new(1))
    }

    #[test]
    fn time_that_goes_back_or_is_nobodys_is_noticed() {
        let world = world();
        let (first, last) = (world.readings(Time(0)).0, world.readings(Time(1_000)).1);
        let at = |position, time| Entry { time: AgreedTime(time), ..entry(position, 0, "p:f0:1") };
        let timely = |entries: &[Entry]| fired(world.timely(entries, &[], last, &BTreeSet::new()));
        assert_eq!(timely(&[at(1, first), at(2, last)]), "nothing");
        assert_eq!(timely(&[at(1, first + 2), at(2, first + 1)]), "time");
        assert_eq!(timely(&[at(1, first - 1)]), "time");
        assert_eq!(timely(&[at(1, last + 1)]), "time");
        let mut early = answered("p:f0:1", 1, 1);
        early.at = Time(5_000_000);
        let verdict = world.timely(&[at(1, first)], &[early], last, &BTreeSet::new());
        assert_eq!(fired(verdict), "time", "before it was asked");
    }

    #[test]
    fn two_servers_that_differ_at_one_position_are_noticed() {
        let world = world();
        let mut desk = world.desk.borrow_mut();
        let digest = |text: &[u8]| maftia_base::Digest::of("test", text);
        let mut same = |party: usize, text| {
            let place = (0, 5);
            fired(desk.same(Party::new(party), place, digest(text), "state"))
        };
        assert_eq!((same(0, b"a"), same(1, b"a"), same(2, b"b")), ("nothing", "nothing", "state"));
    }
}
