//! Attacks from the literature: they work on what they were published against, and not on ours.

use maftia_base::Party;
use maftia_crypto::{IdealSuite, Suite};
use maftia_drill::course::course;
use maftia_drill::naive::{CoinOrdered, Mmr, Supporter};
use maftia_drill::plan::Wishes;
use maftia_drill::run::Options;
use maftia_drill::world::{DrillSuite, Shape};
use maftia_sim::{Builder, Network, Simulation};

fn mmr(epoch: u64, network: impl FnOnce(Builder<Mmr>) -> Builder<Mmr>) -> Simulation<Mmr> {
    let keyrings = IdealSuite::keyrings(Shape::Four);
    let builder = Simulation::<Mmr>::builder(Shape::Four.groups(epoch), epoch)
        .trace(0)
        .worker(move |party, works, clock| {
            IdealSuite::run_many(works, &keyrings[party.index()], clock)
        })
        .corrupt([Party::new(3)], Supporter::adversary());
    let mut sim = network(builder).build(|_| Mmr::default());
    for (index, bit) in [true, true, false].into_iter().enumerate() {
        sim.command(Party::new(index), bit);
    }
    sim
}

fn decided(sim: &Simulation<Mmr>) -> usize {
    (0..3).filter(|index| !sim.outcomes(Party::new(*index)).is_empty()).count()
}

#[test]
fn the_first_mostefaoui_moumen_raynal_decides_when_nobody_orders_its_messages() {
    for epoch in 0..20 {
        let mut sim = mmr(epoch, |builder| builder.network(Network::random()));
        sim.run_until(|sim| decided(sim) == 3, 100_000).expect("it decides");
    }
}

#[test]
fn it_never_decides_under_an_order_that_follows_the_coin() {
    for epoch in 0..20 {
        let mut sim = mmr(epoch, |builder| builder.network(CoinOrdered::new(epoch)));
        let round = |sim: &Simulation<Mmr>| sim.state(Party::new(2)).and_then(|state| state.round);
        sim.run_until(|sim| round(sim) >= Some(100), 200_000).expect("rounds go by");
        assert_eq!(decided(&sim), 0, "a hundred coins, each with one half, and none decided");
    }
}

#[test]
fn ours_decides_under_a_network_that_follows_the_coin_and_servers_that_do() {
    let binary = course("binary").expect("it is there");
    for conduct in ["vote-splitter", "persuader", "twins"] {
        let mut events = 0;
        for number in 0..150 {
            let wishes = Wishes { adversary: Some(conduct), ..Wishes::default() };
            let mut plan = (binary.choices)().draw(number, &wishes);
            plan.network = "coin-aware";
            let verdict = (binary.run)(&plan, Options::default());
            assert!(verdict.complaints.is_empty(), "{plan}: {}", verdict.complaints[0]);
            events += verdict.events;
        }
        assert!(events < 150 * 8_000, "{events} events for 150 runs under {conduct}");
    }
}

/// What the canary of this name breaks is what an attack needs: it works then, and not without.
fn works_only_while(canary: &'static str, conduct: &'static str, protocol: &'static str) {
    let course = course(protocol).expect("it is there");
    let storage = maftia_drill::course::adversary_named(conduct).expect("it is there");
    let wishes = Wishes { adversary: Some(storage), ..Wishes::default() };
    let caught = |song: bool| {
        let _song = song.then(|| maftia_drill::canary::Song::of(canary));
        (0..600u64).find(|number| {
            let plan = (course.choices)().draw(*number, &wishes);
            !(course.run)(&plan, Options::default()).complaints.is_empty()
        })
    };
    assert_eq!(caught(false), None, "{conduct} does no harm");
    assert!(caught(true).is_some(), "{conduct} works where {canary}");
}

/// The same, for a conduct and a storage at once, with the cryptography of production or not.
fn works_only_where(
    canary: &'static str,
    protocol: &'static str,
    (conduct, storage, real): (&'static str, &'static str, bool),
    numbers: std::ops::Range<u64>,
) {
    let course = course(protocol).expect("it is there");
    let caught = |song: bool| {
        let _song = song.then(|| maftia_drill::canary::Song::of(canary));
        numbers.clone().find(|number| {
            let wishes = Wishes { shape: Some(Shape::Four), ..Wishes::default() };
            let mut plan = (course.choices)().draw(*number, &wishes);
            (plan.conduct, plan.storage, plan.real) = (conduct, storage, real);
            !(course.run)(&plan, Options::default()).complaints.is_empty()
        })
    };
    assert_eq!(caught(false), None, "{conduct} with {storage} does no harm");
    assert!(caught(true).is_some(), "{conduct} with {storage} works where {canary}");
}

#[test]
fn an_old_certified_state_takes_in_only_whoever_asks_for_no_proof_of_its_return() {
    for conduct in ["stale-snapshot", "transfer-liar"] {
        let attack = (conduct, "wiped-beyond", false);
        works_only_where("rejoin-without-admission", "replica", attack, 0..40);
    }
}

#[test]
fn what_was_signed_in_another_instance_is_believed_only_where_signatures_do_not_name_theirs() {
    works_only_where("crypto-scope-unsigned", "consistent", ("stale", "crashes", true), 0..60);
    works_only_where("crypto-place-unsigned", "multivalued", ("liar", "crashes", true), 0..60);
}

#[test]
fn amnesia_after_a_restart_breaks_only_what_forgets_its_votes() {
    works_only_while("reliable-echo-not-durable", "crashes", "reliable");
    works_only_while("consistent-vote-not-durable", "any-moment", "consistent");
}

#[test]
fn rogue_shares_break_only_a_coin_that_does_not_throw_them_out() {
    works_only_while("coin-keeps-bad-shares", "bad-shares", "coin");
}

#[test]
fn a_lock_that_few_know_of_stalls_only_whoever_stops_helping_too_early() {
    works_only_while("multivalued-abandons-too-early", "turncoat", "multivalued");
}
