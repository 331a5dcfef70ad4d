//! What searches of the models found, on the code: each of these once went wrong.

use maftia_ttcb_api::{
    Answer, Boot, BootKeys, Channel, Elist, EntityId, Function, Host, Instance, Interval, Moment,
    Sealed, Span, Statement, Value,
};
use maftia_ttcb_core::agreement::Agreements;
use maftia_ttcb_core::control::{Control, Peer};
use maftia_ttcb_core::ordering::Orders;
use maftia_ttcb_core::{Local, Outputs};

const BOUND: Span = Span::from_millis(5);

#[derive(Default)]
struct Effects {
    sent: Vec<(usize, Control)>,
}

impl Outputs for Effects {
    fn send(&mut self, to: Host, control: &Control) {
        self.sent.push((usize::from(to.0), *control));
    }
    fn answer(&mut self, _: u8, _: u64, _: Answer) {}
    fn sign<T: Statement>(&mut self, said: T) -> Sealed<T> {
        Sealed { said, seal: [0; 64] }
    }
    fn is_certified(&self, _: &Sealed<BootKeys>, _: &[u8; 32]) -> bool {
        false
    }
    fn random(&mut self) -> Value {
        [7; 32]
    }
}

fn boot(host: usize) -> Boot {
    Boot(host as u64 + 1)
}

fn entity(host: usize) -> EntityId {
    EntityId { host: Host(host as u8), role: 0, boot: boot(host) }
}

fn peer(host: usize) -> Peer {
    Peer { host: Host(host as u8), boot: boot(host) }
}

fn elist(hosts: usize) -> Elist {
    Elist::new(&(0..hosts).map(entity).collect::<Vec<_>>()).expect("well formed")
}

/// Letters under way: from whom, to whom, what.
type Wire = Vec<(usize, usize, Control)>;

fn take(
    wire: &mut Wire,
    wanted: impl Fn(usize, usize, &Control) -> bool,
) -> Option<(usize, usize, Control)> {
    let at = wire.iter().position(|(from, to, control)| wanted(*from, *to, control))?;
    Some(wire.remove(at))
}

struct Orderly {
    members: Vec<Orders>,
    now: u64,
    wire: Wire,
    channel: Channel,
}

impl Orderly {
    fn new(hosts: usize) -> Self {
        let channel = Channel { elist: elist(hosts), threshold: 1, sequence: 1, context: [0; 32] };
        let members = (0..hosts).map(|host| Orders::new(Host(host as u8), BOUND)).collect();
        let mut it = Self { members, now: 0, wire: Vec::new(), channel };
        for host in 0..hosts {
            it.with(host, |orders, now, out| {
                let _ = orders.open(entity(host), channel, now, out);
            });
        }
        it.wire.clear();
        it
    }

    fn with(&mut self, host: usize, act: impl FnOnce(&mut Orders, Local, &mut Effects)) {
        let mut effects = Effects::default();
        act(&mut self.members[host], Local(self.now), &mut effects);
        self.wire.extend(effects.sent.into_iter().map(|(to, control)| (host, to, control)));
    }

    /// Delivers what is wanted until nothing more of it is under way; the rest stays.
    fn run(&mut self, wanted: impl Fn(usize, usize, &Control) -> bool) {
        let tag = self.channel.tag();
        while let Some((from, to, control)) = take(&mut self.wire, &wanted) {
            self.with(to, |orders, now, out| {
                orders.on_control(peer(from), tag, &control, now, out);
            });
        }
    }

    fn vouch(&mut self, host: usize, value: u8) {
        let tag = self.channel.tag();
        self.with(host, |orders, now, out| {
            let answer = orders.vouch(entity(host), tag, [value; 32], now, out);
            assert_eq!(answer, Answer::Done);
        });
    }

    fn wait(&mut self, host: usize) {
        self.now += BOUND.times(10).0;
        self.with(host, |orders, now, out| orders.tick(now, out));
    }

    fn told(&mut self, host: usize, number: u64) -> Option<Value> {
        let (tag, mut effects) = (self.channel.tag(), Effects::default());
        let now = Local(self.now);
        match self.members[host].next(entity(host), tag, (number, 1), now, &mut effects) {
            Some(Answer::Ordered(sealed)) => Some(sealed.said.value),
            _ => None,
        }
    }
}

fn accepted(control: &Control, place: u64) -> bool {
    match control {
        Control::Accepted { number, .. } => *number == place,
        _ => false,
    }
}

#[test]
fn a_member_that_skipped_places_does_not_promise_for_them() {
    let [leader, next, behind, fourth, back] = [0, 1, 2, 3, 4];
    let mut net = Orderly::new(5);
    let accept = |control: &Control| matches!(control, Control::Accept { .. });
    // Place 1 is accepted by one that does not learn that it is chosen.
    net.vouch(leader, 1);
    net.run(|_, to, control| accept(control) && to != next);
    net.run(|from, to, control| accepted(control, 1) && from != back && to != next && to != back);
    net.wire.clear();
    // Places 2 to 57 are chosen without it.
    for place in 2..=57 {
        net.vouch(leader, place as u8);
        net.run(|_, to, control| accept(control) && to != next && to != back);
        net.run(|_, to, control| accepted(control, place) && [leader, fourth].contains(&to));
        net.run(|_, to, control| accepted(control, place) && to == behind && place < 55);
        net.wire.clear();
    }
    // It is back, skips place 1, which nobody remembers, and catches up.
    net.wait(back);
    net.wait(back);
    net.run(|from, to, control| match control {
        Control::Joined { from: place, .. } => from == back && to == leader && *place < 50,
        Control::Chosen { .. } => from == leader && to == back,
        _ => false,
    });
    net.wire.clear();
    // Place 58 is given, and chosen with its vote.
    net.vouch(leader, 58);
    let given: Wire = net.wire.iter().filter(|(_, _, it)| accept(it)).copied().collect();
    net.run(|_, to, control| accept(control) && to == back);
    net.run(|from, to, control| match control {
        Control::Joined { .. } => from == back && to == behind,
        Control::Chosen { .. } => from == behind && to == back,
        _ => false,
    });
    net.wire = given;
    net.run(|_, to, control| accept(control) && (to == back || to == fourth));
    net.run(|_, to, control| accepted(control, 58) && to == leader);
    net.wire.clear();
    let first = net.told(leader, 58).expect("it is chosen");
    // The leader is cut off, and the next prepares from place 1, of which it knows nothing.
    net.vouch(next, 99);
    net.wait(next);
    net.wait(next);
    let up = |host: usize| [next, behind, back].contains(&host);
    net.run(|from, to, control| {
        let old = matches!(control, Control::Joined { .. } | Control::Vouch { .. });
        up(from) && up(to) && !old
    });
    assert!(net.told(next, 58).is_none_or(|second| second == first), "two values at one place");
}

struct Agreeing {
    members: Vec<Agreements>,
    wire: Wire,
}

const TSTART: u64 = 1_000 * BOUND.0;

/// Half of the clocks' intervals.
const WIDTH: u64 = 100_000;

fn around(time: u64, width: u64) -> Interval {
    Interval { earliest: Moment(time - width), latest: Moment(time + width) }
}

fn instance() -> Instance {
    let (elist, tstart) = (elist(3), Moment(TSTART));
    Instance { elist, tstart, function: Function::Multicast, context: [0; 32] }
}

impl Agreeing {
    fn new() -> Self {
        let member = |host| Agreements::new((Host(host as u8), boot(host)), BOUND, 3);
        Self { members: (0..3).map(member).collect(), wire: Vec::new() }
    }

    fn with<R>(&mut self, host: usize, act: impl FnOnce(&mut Agreements, &mut Effects) -> R) -> R {
        let mut effects = Effects::default();
        let result = act(&mut self.members[host], &mut effects);
        self.wire.extend(effects.sent.into_iter().map(|(to, control)| (host, to, control)));
        result
    }

    fn propose(&mut self, host: usize, time: u64) {
        let now = around(time, WIDTH);
        let answer = self.with(host, |member, out| {
            member.propose(entity(host), instance(), Some([1; 32]), now, out)
        });
        assert!(matches!(answer, Answer::Tag(_)), "{answer:?}");
    }

    fn tick(&mut self, host: usize, time: u64) {
        self.with(host, |member, out| member.tick(Some(around(time, WIDTH)), out));
    }

    fn deliver(&mut self, now: Interval, wanted: impl Fn(usize, usize, &Control) -> bool) {
        while let Some((from, to, control)) = take(&mut self.wire, &wanted) {
            self.with(to, |member, out| match control {
                Control::Proposal { instance, value } => {
                    member.on_proposal(peer(from), instance, value, now, out);
                }
                Control::Vote { instance, vector } => {
                    member.on_vote(peer(from), instance, vector, now, out);
                }
                _ => {}
            });
        }
    }

    fn is_decided(&mut self, host: usize, time: u64) -> bool {
        let now = around(time, WIDTH);
        let tag = instance().tag();
        let answer = self.with(host, |member, out| member.decide(entity(host), tag, 1, now, out));
        matches!(answer, Some(Answer::Decided(_)))
    }
}

#[test]
fn a_frame_that_was_in_time_is_not_refused_by_who_knows_the_time_less_well() {
    let mut net = Agreeing::new();
    let sent = TSTART - WIDTH - 1;
    net.propose(0, sent);
    net.deliver(around(sent + BOUND.0, 2 * WIDTH), |_, _, _| true);
    for time in [TSTART + WIDTH, TSTART + BOUND.0 + WIDTH] {
        (0..3).for_each(|host| net.tick(host, time));
        net.deliver(around(time + BOUND.0, WIDTH), |_, _, _| true);
    }
    for host in 0..3 {
        assert!(net.is_decided(host, TSTART + BOUND.times(3).0), "host {host}");
    }
}

#[test]
fn who_learns_the_decision_before_it_acknowledged_acknowledges_it_all_the_same() {
    let mut net = Agreeing::new();
    net.propose(0, TSTART - BOUND.0);
    net.propose(2, TSTART - BOUND.0);
    net.deliver(around(TSTART - WIDTH - 1, WIDTH), |_, _, _| true);
    // Two come to acknowledge without what the other says at tstart.
    for host in [0, 2] {
        net.tick(host, TSTART + WIDTH);
        net.tick(host, TSTART + BOUND.0 + WIDTH);
    }
    // One of them crashes when it has sent to the other one only.
    net.wire.retain(|(from, to, _)| !(*from == 0 && *to == 2));
    // To that one it is not tstart yet.
    net.deliver(around(TSTART - 1, WIDTH), |_, to, _| to == 1);
    net.deliver(around(TSTART + BOUND.times(2).0, WIDTH), |_, to, _| to == 2);
    assert!(net.is_decided(1, TSTART + BOUND.times(2).0));
    assert!(net.is_decided(2, TSTART + BOUND.times(2).0), "a majority lives");
}
