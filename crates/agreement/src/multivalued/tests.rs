use super::*;
use maftia_base::time::Duration;
use maftia_base::{AdversaryStructure, Epoch, Evidence, Formula, Group, GroupId, Scope};
use maftia_crypto::{
    Certificate, Corrupt, DealSpec, IdealKeyring, IdealSuite, RealKeyring, RealSuite, deal, ideal,
};
use maftia_sim::attacks::{Flooder, Mutator, Mute, Replayer, Script, Silent, Twins};
use maftia_sim::{
    Adversary, Builder, Crashes, Failure, Fate, Hand, Letter, Local, Network, Random, Scheduler,
    Simulation, check_deterministic, figures, seeds,
};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use std::cell::RefCell;
use std::rc::Rc;

type Agreement = ValidatedAgreement<IdealSuite, u64>;
type Said = Message<IdealSuite, u64>;

const EVENTS_MAX: u64 = 400_000;

fn p(index: usize) -> Party {
    Party::new(index)
}

fn optimal(n: usize) -> AdversaryStructure {
    AdversaryStructure::optimal(n).unwrap()
}

/// Six servers at three sites of two, one of which may be corrupt, or any server of other sites.
fn sites() -> AdversaryStructure {
    let sets = [[0, 1], [2, 3], [4, 5], [0, 6], [2, 6], [4, 6]];
    let sets = sets.map(|set| set.into_iter().map(Party::new).collect());
    let structure = AdversaryStructure::general(7, &sets).unwrap();
    structure.check_q3().unwrap();
    structure
}

/// Each seed is an epoch of its own, so that each has coins of its own.
fn groups(structure: &AdversaryStructure, seed: u64) -> Vec<Group> {
    let group = |index| Group::new(GroupId::default(), Epoch(seed), p(index), structure.clone());
    (0..structure.n()).map(group).collect()
}

fn scope_of(structure: &AdversaryStructure, seed: u64) -> Scope {
    groups(structure, seed)[0].scope()
}

fn keys(structure: &AdversaryStructure) -> Vec<IdealKeyring> {
    ideal::keyrings(structure, &Formula::exact(structure), 1)
}

/// Even values are valid. Server `i` proposes `100 + 2i`.
fn input(party: Party) -> u64 {
    100 + 2 * party.index() as u64
}

fn worker<S: Suite>(
    keyrings: Vec<S::Keyring>,
) -> impl FnMut(Party, Vec<Work<S>>, maftia_base::time::Reading) -> Vec<Done<S>> {
    move |party, work, clock| S::run_many(work, &keyrings[party.index()], clock)
}

fn judge<S: Suite>(_: Party, outcome: &Outcome<S, u64>) -> Vec<Command<u64>> {
    match outcome {
        Outcome::Validate { value, .. } if value % 2 == 0 => {
            vec![Command::Accept(digest_of(value))]
        }
        _ => Vec::new(),
    }
}

/// Complains if two decisions differ, in value or seed, or if one is not valid.
fn same<S: Suite>() -> impl FnMut(Party, &Outcome<S, u64>) -> Result<(), String> {
    let decided: RefCell<Option<(u64, Digest)>> = RefCell::default();
    move |_, outcome| {
        let Outcome::Decided { value, seed, .. } = outcome else { return Ok(()) };
        if value % 2 != 0 {
            return Err(format!("decided {value}, which is not valid"));
        }
        let first = *decided.borrow_mut().get_or_insert((*value, *seed));
        match first == (*value, *seed) {
            true => Ok(()),
            false => Err(format!("decided {value} and {first:?}")),
        }
    }
}

fn builder(structure: &AdversaryStructure, seed: u64) -> Builder<Agreement> {
    Simulation::builder(groups(structure, seed), seed)
        .worker(worker(keys(structure)))
        .application(judge)
        .check(same())
        .footprint_max(ITEMS_PER_PARTY_MAX * structure.n())
}

fn is_decided<S: Suite>(agreement: &ValidatedAgreement<S, u64>) -> bool {
    Protocol::is_settled(agreement)
}

/// Proposes at everybody who has nothing to propose yet, until all honest servers decided.
fn decide<S: Suite>(sim: &mut Simulation<ValidatedAgreement<S, u64>>) -> Result<(), Failure> {
    let wants = |sim: &Simulation<ValidatedAgreement<S, u64>>, party| {
        sim.state(party).is_some_and(|state| state.input.is_none() && state.verdict.is_none())
    };
    loop {
        for party in sim.honest().iter().filter(|party| wants(sim, *party)).collect::<Vec<_>>() {
            sim.command(party, Command::Propose(input(party)));
        }
        let done = |sim: &Simulation<ValidatedAgreement<S, u64>>| {
            sim.honest().iter().all(|party| sim.state(party).is_some_and(is_decided))
        };
        sim.run_until(
            |sim| done(sim) || sim.honest().iter().any(|party| wants(sim, party)),
            EVENTS_MAX,
        )?;
        if done(sim) {
            return sim.run_to_quiescence(EVENTS_MAX);
        }
    }
}

fn decided(sim: &Simulation<Agreement>, party: Party) -> (u64, Decision<IdealSuite>) {
    let told = sim.outcomes(party).iter().find_map(|outcome| match outcome {
        Outcome::Decided { value, proof, .. } => Some((*value, proof.clone())),
        Outcome::Validate { .. } => None,
    });
    told.expect("it has decided since it was last started")
}

fn all_structures() -> Vec<AdversaryStructure> {
    vec![optimal(1), optimal(4), optimal(7), sites()]
}

/// The last party, and with it another where the structure allows.
fn liars(structure: &AdversaryStructure) -> Vec<Party> {
    let last = structure.n() - 1;
    let two = PartySet::from_iter([p(0), p(last)]);
    if structure.may_be_corrupt(two) { vec![p(0), p(last)] } else { vec![p(last)] }
}

fn against<A: Adversary<Agreement> + 'static>(
    count: u64,
    adversary: impl Fn(&AdversaryStructure, Scope) -> A,
    check: impl Fn(&Simulation<Agreement>),
) {
    for structure in all_structures().into_iter().skip(1) {
        seeds(0..count, |seed| {
            let mut sim = builder(&structure, seed)
                .network(Network::random())
                .corrupt(liars(&structure), adversary(&structure, scope_of(&structure, seed)))
                .build(|_| Agreement::new());
            for liar in liars(&structure) {
                sim.command_copy(liar, 0, Command::Propose(input(liar)));
                sim.command_copy(liar, 1, Command::Propose(1_000));
            }
            decide(&mut sim)?;
            check(&sim);
            Ok(())
        });
    }
}

#[test]
fn all_decide_one_proposed_valid_value_in_any_order() {
    for structure in all_structures() {
        seeds(0..40, |seed| {
            let mut sim = builder(&structure, seed).build(|_| Agreement::new());
            decide(&mut sim)?;
            let (value, proof) = decided(&sim, p(0));
            assert!((0..structure.n()).any(|index| input(p(index)) == value));
            let is_leaders = value == input(proof.leader());
            assert!(is_leaders || proof.view() > View::FIRST, "at first it is the leader's own");
            Ok(())
        });
    }
}

#[test]
fn survives_loss_and_duplication() {
    for structure in all_structures() {
        seeds(0..20, |seed| {
            let network = Network::lossy(100).duplicating(100);
            let mut sim = builder(&structure, seed).network(network).build(|_| Agreement::new());
            decide(&mut sim)
        });
    }
}

#[test]
fn a_starved_server_decides_too() {
    for structure in all_structures().into_iter().skip(1) {
        seeds(0..20, |seed| {
            let network = Network::random().starving(p(1));
            let mut sim = builder(&structure, seed).network(network).build(|_| Agreement::new());
            decide(&mut sim)
        });
    }
}

#[test]
fn silent_until_someone_proposes() {
    let mut sim = builder(&optimal(4), 1).build(|_| Agreement::new());
    sim.run_to_quiescence(1_000).unwrap();
    assert_eq!(sim.stats().messages, 0);
}

#[test]
fn takes_six_message_delays_and_three_durable_waits_if_the_leaders_finish_is_known() {
    let mut best = None;
    for seed in 0..8 {
        let figures = figures(|network| {
            let mut sim = builder(&optimal(4), seed).network(network).build(|_| Agreement::new());
            (0..4).for_each(|index| sim.command(p(index), Command::Propose(input(p(index)))));
            sim.run_until(|sim| sim.state(p(0)).is_some_and(is_decided), EVENTS_MAX)?;
            Ok(sim)
        });
        let figures = figures.unwrap();
        println!("seed {seed}: {figures:?}");
        best = best.max(Some((figures.delays, figures.durable_waits)));
    }
    assert_eq!(best, Some((6, 3)));
}

#[test]
fn four_servers_check_at_most_twenty_signatures_each_if_all_are_honest() {
    let (mut most, mut signed_most) = (0, 0);
    for seed in 0..20 {
        let counts = Rc::new(RefCell::new((0, 0)));
        let (structure, count) = (optimal(4), Rc::clone(&counts));
        let mut work_off = worker(keys(&structure));
        let mut sim = Simulation::builder(groups(&structure, seed), seed)
            .network(Network::unit_delay())
            .worker(move |party, work, clock| {
                for piece in &work {
                    match piece {
                        Work::Verify(claims) => count.borrow_mut().0 += claims.len(),
                        Work::Sign(_) => count.borrow_mut().1 += 1,
                        _ => {}
                    }
                }
                work_off(party, work, clock)
            })
            .application(judge)
            .build(|_| Agreement::new());
        decide(&mut sim).unwrap();
        let (checks, signatures) = *counts.borrow();
        (most, signed_most) = (most.max(checks), signed_most.max(signatures));
    }
    println!("four servers together: {most} checks, {signed_most} signatures at most");
    assert!(most <= 4 * 20 && signed_most <= 4 * 10);
}

#[test]
fn a_mute_server_does_not_stop_it() {
    against(20, |_, _| Silent, |_| {});
    against(20, |_, _| Mute { towards: PartySet::from_iter([p(1), p(2)]) }, |_| {});
}

#[test]
fn floods_and_replays_change_nothing() {
    against(10, |_, _| Flooder { copies: 3 }, |_| {});
    against(10, |_, _| Replayer::new(300), |_| {});
}

#[test]
fn an_equivocating_proposer_is_harmless() {
    let second = PartySet::from_iter([p(1), p(3), p(5)]);
    against(30, |_, _| Twins { second }, |_| {});
}

#[test]
fn invalid_values_are_never_decided() {
    let odd = |letter: &Letter<Said>, _: &mut Random| match &*letter.body {
        Message::Propose { view, basis, signature, .. } => vec![Message::Propose {
            view: *view,
            value: 7,
            basis: basis.clone(),
            signature: *signature,
        }],
        other => vec![other.clone()],
    };
    against(20, |_, _| Mutator(odd), |sim| assert_ne!(decided(sim, p(1)).0, 7));
}

#[test]
fn a_finish_that_one_server_alone_is_shown_does_not_stop_the_others() {
    for structure in all_structures().into_iter().skip(1) {
        seeds(0..60, |seed| {
            // Plays along until its proposal is finished; shows that to the first server, which
            // all others hear late; and is silent from then on.
            let mut finished = false;
            let first = p(1);
            let hide = move |letter: &Letter<Said>, _: &mut Random| match &*letter.body {
                Message::Finish { .. } if letter.to == first => {
                    finished = true;
                    vec![(*letter.body).clone()]
                }
                Message::Finish { .. } => Vec::new(),
                _ if finished => Vec::new(),
                other => vec![other.clone()],
            };
            let late = p(2 + (seed % (structure.n() as u64 - 3)) as usize);
            let mut sim = builder(&structure, seed)
                .network(Network::random().starving(late))
                .corrupt(liars(&structure), Mutator(hide))
                .build(|_| Agreement::new());
            for liar in liars(&structure) {
                sim.command(liar, Command::Propose(input(liar)));
            }
            decide(&mut sim)
        });
    }
}

#[test]
fn a_withheld_finish_does_not_stop_it() {
    let mute = |letter: &Letter<Said>, _: &mut Random| match &*letter.body {
        Message::Finish { .. } if letter.to != p(1) => Vec::new(),
        Message::Vote { .. } | Message::Decided { .. } => Vec::new(),
        other => vec![other.clone()],
    };
    against(30, |_, _| Mutator(mute), |_| {});
}

#[test]
fn bad_coin_shares_are_evidence() {
    let blamed = Rc::new(RefCell::new(0));
    let count = Rc::clone(&blamed);
    against(
        20,
        |structure, scope| {
            let keyrings = keys(structure);
            Mutator(move |letter: &Letter<Said>, _: &mut Random| match &*letter.body {
                Message::Share { view, .. } => {
                    let keyring = &keyrings[letter.from.index()];
                    let share = IdealSuite::bad_coin_share(keyring, view.coin(scope));
                    vec![Message::Share { view: *view, share }]
                }
                other => vec![other.clone()],
            })
        },
        move |sim| {
            for (_, fault) in sim.blames() {
                assert_eq!(fault.kind, FaultKind::BadShare);
                assert!(matches!(fault.evidence.as_deref(), Some(Evidence::BadShare { .. })));
                *count.borrow_mut() += 1;
            }
        },
    );
    assert!(*blamed.borrow() > 0, "in some run the bad share was among the first");
}

#[test]
fn bad_signatures_and_certificates_are_blamed() {
    let bad = IdealSuite::bad_signature();
    let certificate = move || {
        let scope = Scope::root(GroupId::default(), Epoch(0));
        let statement = message::refusal(scope, View::FIRST);
        let signed = Signed { statement, signature: bad };
        Certificate::<IdealSuite>::new((0..7).map(|index| (p(index), signed.clone())))
    };
    let spoil = move |letter: &Letter<Said>, random: &mut Random| {
        let certificate = match letter.to.index() {
            1 => Certificate::default(),
            _ => certificate(),
        };
        match (*letter.body).clone() {
            Message::Echo { view, step, .. } => {
                vec![Message::Echo { view, step, signature: bad }]
            }
            Message::Lock { view, digest, .. } if random.chance(500) => {
                vec![Message::Lock { view, digest, certificate }]
            }
            Message::Finish { view, digest, .. } => {
                vec![Message::Finish { view, digest, certificate }]
            }
            other => vec![other],
        }
    };
    against(
        20,
        |_, _| Mutator(spoil),
        |sim| {
            assert!(sim.blames().iter().all(|(_, fault)| fault.evidence.is_none()));
            assert!(sim.is_blamed(p(sim.honest().len())) || !sim.blames().is_empty());
        },
    );
}

#[test]
fn two_proposals_of_one_server_are_evidence() {
    let structure = optimal(4);
    let keyrings = keys(&structure);
    seeds(0..10, |seed| {
        let (keyrings, scope) = (keyrings.clone(), scope_of(&structure, seed));
        let both = move |letter: &Letter<Said>, _: &mut Random| {
            let mut bodies = vec![(*letter.body).clone()];
            if let Message::Propose { view, basis, .. } = &*letter.body {
                let value = 2_000u64;
                let statement =
                    message::echo(scope, *view, Step::Lock, letter.from, digest_of(&value));
                let work = vec![Work::Sign(statement)];
                let keyring = &keyrings[letter.from.index()];
                let done = IdealSuite::run_many(work, keyring, Default::default());
                let [Done::Signed(signed)] = &done[..] else { panic!("signing signs") };
                let (view, basis, signature) = (*view, basis.clone(), signed.signature);
                bodies.push(Message::Propose { view, value, basis, signature });
            }
            bodies
        };
        let mut sim =
            builder(&structure, seed).corrupt([p(3)], Mutator(both)).build(|_| Agreement::new());
        sim.command(p(3), Command::Propose(input(p(3))));
        decide(&mut sim)?;
        let convicts = |fault: &Fault| match fault.evidence.as_deref() {
            Some(evidence @ Evidence::Conflict(..)) => {
                let evidence = Box::new(evidence.clone());
                let work = vec![Work::Convict { culprit: fault.culprit, evidence }];
                let done = IdealSuite::run_many(work, &keys(&optimal(4))[0], Default::default());
                done == vec![Done::Convicted(true)]
            }
            _ => false,
        };
        assert!(sim.blames().iter().any(|(_, fault)| convicts(fault)));
        Ok(())
    });
}

/// Knows the coin as soon as one honest server gives its share away, and then holds back what the
/// leader still has on the way.
struct CoinAware {
    structure: AdversaryStructure,
    keyrings: Vec<IdealKeyring>,
    scope: Scope,
    shares: BTreeMap<
        View,
        BTreeMap<Party, maftia_crypto::SignedShare<IdealSuite, ideal::IdealCoinShare>>,
    >,
    leaders: BTreeMap<View, Party>,
}

impl CoinAware {
    fn new(structure: &AdversaryStructure, seed: u64) -> Self {
        Self {
            structure: structure.clone(),
            keyrings: keys(structure),
            scope: scope_of(structure, seed),
            shares: BTreeMap::new(),
            leaders: BTreeMap::new(),
        }
    }

    fn learn(&mut self, from: Party, view: View, body: &Said) {
        let Message::Share { share, .. } = body else { return };
        let shares = self.shares.entry(view).or_default();
        shares.insert(from, share.clone());
        let liar = self.structure.n() - 1;
        let work = vec![Work::CoinShare(view.coin(self.scope))];
        let done = IdealSuite::run_many(work, &self.keyrings[liar], Default::default());
        if let [Done::CoinShare(share)] = &done[..] {
            shares.insert(p(liar), share.clone());
        }
        let shares: Vec<_> = shares.iter().map(|(party, share)| (*party, share.clone())).collect();
        let work = vec![Work::CombineCoin { name: view.coin(self.scope), shares }];
        let done = IdealSuite::run_many(work, &self.keyrings[0], Default::default());
        if let [Done::Coin { value: Some(coin), .. }] = &done[..] {
            let group = &groups(&self.structure, 0)[0];
            self.leaders.insert(view, decision::leader_of(*coin, group));
        }
    }
}

impl Scheduler<Said> for CoinAware {
    fn route(&mut self, letter: &Letter<Said>, random: &mut Random) -> Fate {
        let soon = Duration(1 + random.exponential(1_000));
        let late = Duration(40_000 + random.exponential(20_000));
        let Some(view) = letter.body.view() else { return Fate::Arrives(late) };
        self.learn(letter.from, view, &letter.body);
        // Only the first server finds out in time who has finished.
        match &*letter.body {
            Message::Finish { .. } if letter.to != p(0) => Fate::Held(late),
            Message::Lock { .. } if random.chance(200) => Fate::Held(late),
            _ => Fate::Arrives(soon),
        }
    }

    fn local(&mut self, _: Party, _: Local, random: &mut Random) -> Duration {
        Duration(random.exponential(200))
    }

    fn release(&mut self, held: &[Letter<Said>], _: &mut Random) -> Option<usize> {
        held.iter().position(|letter| {
            let leader = letter.body.view().and_then(|view| self.leaders.get(&view));
            leader.is_some_and(|leader| *leader != letter.from)
        })
    }
}

#[test]
fn a_scheduler_that_knows_the_coin_early_does_not_stop_it() {
    let mut ends = BTreeMap::new();
    for structure in all_structures().into_iter().skip(1) {
        seeds(0..60, |seed| {
            let last = p(structure.n() - 1);
            let mut sim = builder(&structure, seed)
                .network(CoinAware::new(&structure, seed))
                .corrupt([last], Mute { towards: PartySet::from_iter([p(0)]) })
                .build(|_| Agreement::new());
            sim.command(last, Command::Propose(input(last)));
            decide(&mut sim)?;
            for party in sim.honest().iter() {
                let (_, decision) = decided(&sim, party);
                let by_votes = matches!(decision.proof, Proof::Votes(_));
                *ends.entry((decision.view(), by_votes)).or_insert(0) += 1;
            }
            Ok(())
        });
    }
    println!("decided in view, by votes: {ends:?}");
    assert!(ends.keys().any(|(_, by_votes)| *by_votes), "votes decide what no finish could");
}

/// One server hears of no election or vote of the first view, nor of any decision, for very long.
struct Behind(Party, Network);

impl Scheduler<Said> for Behind {
    fn route(&mut self, letter: &Letter<Said>, random: &mut Random) -> Fate {
        match &*letter.body {
            Message::Decided { .. } if letter.to == self.0 => Fate::Arrives(Duration(1 << 36)),
            Message::Share { view, .. }
            | Message::Refuse { view, .. }
            | Message::Vote { view, .. }
                if letter.to == self.0 && *view == View::FIRST =>
            {
                Fate::Arrives(Duration(1 << 35))
            }
            _ => self.1.route(letter, random),
        }
    }

    fn local(&mut self, party: Party, what: Local, random: &mut Random) -> Duration {
        Scheduler::<Said>::local(&mut self.1, party, what, random)
    }
}

#[test]
fn a_server_that_is_behind_jumps_to_the_view_that_a_proposal_proves() {
    let mut jumps = 0;
    seeds(0..150, |seed| {
        let mut sim = builder(&optimal(7), seed)
            .network(Behind(p(1), Network::random()))
            .corrupt([p(6)], Silent)
            .build(|_| Agreement::new());
        decide(&mut sim)?;
        let (records, _) = sim.log(p(1));
        let voted = |last: Option<View>| {
            records
                .iter()
                .any(|record| matches!(record, Record::Voted { view, .. } if Some(*view) == last))
        };
        let entered = records.iter().filter_map(|record| match record {
            Record::Entered { view, .. } => Some(*view),
            _ => None,
        });
        jumps += entered.filter(|view| !voted(view.previous())).count();
        Ok(())
    });
    println!("entered {jumps} views without having voted in the one before");
    assert!(jumps > 0);
}

#[test]
fn a_lock_that_few_hold_is_carried_into_the_next_view_also_through_crashes() {
    // Liars show their lock to one server only, and sign refusals although they hold locks.
    let (structure, mut carried) = (optimal(7), 0);
    seeds(0..300, |seed| {
        let (scope, keyrings) = (scope_of(&structure, seed), keys(&structure));
        let lie = move |letter: &Letter<Said>, _: &mut Random| match &*letter.body {
            Message::Lock { .. } if letter.to != p(1) => Vec::new(),
            Message::Finish { .. } | Message::Decided { .. } => Vec::new(),
            Message::Vote { view, .. } => {
                let work = vec![Work::Sign(message::refusal(scope, *view))];
                let keyring = &keyrings[letter.from.index()];
                let done = IdealSuite::run_many(work, keyring, Default::default());
                let [Done::Signed(signed)] = &done[..] else { panic!("signing signs") };
                vec![Message::Refuse { view: *view, signature: signed.signature }]
            }
            other => vec![other.clone()],
        };
        let crashes = Crashes {
            parties: (1..6).map(p).collect(),
            permille: 30,
            crashes_max: seed % 4,
            ..Crashes::default()
        };
        let mut sim = builder(&structure, seed)
            .crashes(crashes)
            .corrupt([p(0), p(6)], Mutator(lie))
            .build(|_| Agreement::new());
        for liar in [p(0), p(6)] {
            sim.command(liar, Command::Propose(input(liar)));
        }
        decide(&mut sim)?;
        carried += sim
            .honest()
            .iter()
            .flat_map(|party| sim.log(party).0)
            .filter(|record| matches!(record, Record::Entered { basis: Basis::Locked { .. }, .. }))
            .count();
        Ok(())
    });
    println!("entered {carried} views on a lock");
    assert!(carried > 0);
}

#[test]
fn a_proposal_that_the_log_knows_by_its_lock_alone_is_echoed_when_it_comes_again() {
    let structure = optimal(4);
    let (group, value) = (&groups(&structure, 0)[0], 100u64);
    let mut agreement = Agreement::new();
    let mut recorder = Recorder { group: group.clone(), work: Vec::new(), faults: Vec::new() };
    let (view, proposer, lock) = (View::FIRST, p(2), Certificate::default());
    let record = Record::Locked { view, proposer, value: Some(value), lock };
    agreement.handle(Event::Restore(record), &mut recorder);
    agreement.handle(Event::Resumed, &mut recorder);
    let signature = IdealSuite::bad_signature();
    let body = Message::Propose { view, value, basis: Basis::First, signature };
    agreement.handle(Event::Message { from: proposer, body }, &mut recorder);
    agreement.handle(Event::Command(Command::Accept(digest_of(&value))), &mut recorder);
    let echo = Ticket::Echo { view, step: Step::Lock, proposer };
    assert!(recorder.work.iter().any(|(ticket, _)| *ticket == echo), "{:?}", recorder.work);
}

#[test]
fn two_votes_of_one_server_are_evidence() {
    let structure = optimal(4);
    let (scope, group) = (scope_of(&structure, 0), &groups(&structure, 0)[0]);
    let mut agreement = Agreement::new();
    let signed = |choice| {
        let work = vec![Work::Sign(message::vote(scope, View::FIRST, choice))];
        match IdealSuite::run_many(work, &keys(&structure)[2], Default::default()).remove(0) {
            Done::Signed(signed) => signed.signature,
            other => panic!("{other:?} does not answer a signature"),
        }
    };
    let statement = message::refusal(scope, View::FIRST);
    let signature = IdealSuite::bad_signature();
    let refusals = Certificate::new((0..3).map(|i| (p(i), Signed { statement, signature })));
    let value = 100u64;
    let yes = Choice::Yes { value, lock: refusals.clone() };
    let votes = [(yes, signed(Some(digest_of(&value)))), (Choice::No { refusals }, signed(None))];
    let mut sim = Recorder { group: group.clone(), work: Vec::new(), faults: Vec::new() };
    for (choice, signature) in votes {
        let body = Message::Vote { view: View::FIRST, choice, signature };
        agreement.handle(Event::Message { from: p(2), body }, &mut sim);
    }
    let (ticket, work) = sim.work.pop().unwrap();
    let done = IdealSuite::run_many(vec![work], &keys(&structure)[0], Default::default()).remove(0);
    agreement.handle(Event::Done { ticket, done }, &mut sim);
    let [fault] = &sim.faults[..] else { panic!("one fault, not {:?}", sim.faults) };
    assert_eq!((fault.culprit, fault.kind), (p(2), FaultKind::Equivocation));
    assert!(matches!(fault.evidence.as_deref(), Some(Evidence::Conflict(..))));
}

/// A context that remembers work and blame.
struct Recorder {
    group: Group,
    work: Vec<(Ticket<IdealSuite>, Work<IdealSuite>)>,
    faults: Vec<Fault>,
}

impl Context<Agreement> for Recorder {
    fn group(&self) -> &Group {
        &self.group
    }

    fn scope(&self) -> Scope {
        self.group.scope()
    }

    fn send(&mut self, _: maftia_base::Target, _: Said) {}

    fn offload(&mut self, ticket: Ticket<IdealSuite>, work: Work<IdealSuite>) {
        self.work.push((ticket, work));
    }

    fn consult(&mut self, _: Ticket<IdealSuite>, _: Work<IdealSuite>) {}

    fn persist(&mut self, _: Record<IdealSuite, u64>) {}

    fn note(&mut self, _: Record<IdealSuite, u64>) {}

    fn blame(&mut self, fault: Fault) {
        self.faults.push(fault);
    }

    fn output(&mut self, _: Outcome<IdealSuite, u64>) {}
}

#[test]
fn views_without_a_finished_leader_end_and_the_next_decide() {
    // Silent leaders make whole views fail: among many runs some need several.
    let views = Rc::new(RefCell::new(BTreeMap::new()));
    let seen = Rc::clone(&views);
    against(
        60,
        |_, _| Silent,
        move |sim| {
            *seen.borrow_mut().entry(decided(sim, p(1)).1.view()).or_insert(0) += 1;
        },
    );
    println!("decided in view: {:?}", views.borrow());
    assert!(views.borrow().keys().any(|view| *view > View::FIRST));
}

#[test]
fn crashes_at_persist_points_that_lose_unsynced_records_are_harmless() {
    for structure in all_structures() {
        seeds(0..60, |seed| {
            let crashes = Crashes {
                parties: PartySet::all(structure.n()),
                permille: 60,
                crashes_max: 12,
                ..Crashes::default()
            };
            let mut sim = builder(&structure, seed).crashes(crashes).build(|_| Agreement::new());
            decide(&mut sim)
        });
    }
}

#[test]
fn all_crash_at_once_at_any_moment_and_still_agree() {
    for structure in all_structures() {
        seeds(0..60, |seed| {
            let mut sim = builder(&structure, seed).build(|_| Agreement::new());
            for index in 0..structure.n() {
                sim.command(p(index), Command::Propose(input(p(index))));
            }
            for _ in 0..(seed * 17) % 400 {
                sim.step()?;
            }
            for index in 0..structure.n() {
                sim.crash_losing_unsynced(p(index));
            }
            (0..structure.n()).for_each(|index| sim.restart(p(index)));
            decide(&mut sim)
        });
    }
}

#[test]
fn crashes_beside_a_hostile_server_are_harmless() {
    // The last seed has a server ask again before its peers know that it was restarted.
    seeds((0..60).chain([666]), |seed| {
        let structure = optimal(4);
        let crashes = Crashes {
            parties: PartySet::all(3),
            permille: 60,
            crashes_max: 8,
            ..Crashes::default()
        };
        let second = PartySet::from_iter([p(0)]);
        let mut sim = builder(&structure, seed)
            .crashes(crashes)
            .corrupt([p(3)], Twins { second })
            .build(|_| Agreement::new());
        sim.command_copy(p(3), 0, Command::Propose(input(p(3))));
        sim.command_copy(p(3), 1, Command::Propose(1_000));
        decide(&mut sim)
    });
}

#[test]
fn forged_decisions_and_jumps_are_refused_and_blamed() {
    let forge = |letter: Option<&Letter<Said>>, hand: &mut maftia_sim::Hand<'_, Agreement>| {
        let Some(letter) = letter else { return };
        let Message::Share { share, .. } = &*letter.body else { return };
        let election = Election::new([(letter.from, share.clone())]);
        let (me, view) = (letter.to, View::FIRST);
        let elections = Elections { leader: me, first: election.clone(), last: None };
        let proof = Proof::Finish(Certificate::default());
        let decision = Decision { view, elections: elections.clone(), proof };
        hand.send_all(me, Message::Decided { digest: digest_of(&666u64), decision });
        let basis = Basis::Free { votes: Certificate::default(), elections };
        let signature = IdealSuite::bad_signature();
        let (view, value) = (view.next(), 666u64);
        hand.send_all(me, Message::Propose { view, value, basis, signature });
    };
    against(
        10,
        |_, _| Script(forge),
        |sim| {
            assert!(sim.blames().iter().any(|(_, fault)| fault.kind == FaultKind::BadCertificate));
        },
    );
}

#[test]
fn a_decision_convinces_anyone_and_only_of_what_was_decided() {
    let structure = optimal(4);
    let group = &groups(&structure, 5)[0];
    let mut sim = builder(&structure, 5).build(|_| Agreement::new());
    decide(&mut sim).unwrap();
    let (value, decision) = decided(&sim, p(2));
    let holds = |scope, digest, decision: &Decision<IdealSuite>| {
        let work = decision.checks(scope, group, digest)?;
        let dones = IdealSuite::run_many(work, &keys(&structure)[1], Default::default());
        decision.holds(group, &dones)
    };
    let seed = holds(group.scope(), digest_of(&value), &decision);
    assert!(sim.outcomes(p(1)).iter().any(|outcome| matches!(
        outcome, Outcome::Decided { seed: told, .. } if Some(*told) == seed
    )));
    assert_eq!(holds(group.scope(), digest_of(&7u64), &decision), None);
    assert_eq!(holds(group.scope().child("other", 0), digest_of(&value), &decision), None);
    let mut other = decision.clone();
    other.elections.leader = p((decision.leader().index() + 1) % 4);
    assert_eq!(holds(group.scope(), digest_of(&value), &other), None);
    let mut later = decision;
    later.view = later.view.next();
    assert_eq!(holds(group.scope(), digest_of(&value), &later), None);
}

#[test]
fn a_late_server_gets_the_decision_and_asks_for_the_value() {
    // p3 gets no proposals, and thus has to ask.
    let structure = optimal(4);
    seeds(0..10, |seed| {
        let mut sim = builder(&structure, seed)
            .network(NoProposalsFor(p(3), Network::random()))
            .build(|_| Agreement::new());
        for index in 0..3 {
            sim.command(p(index), Command::Propose(input(p(index))));
        }
        sim.run_until(
            |sim| (0..4).all(|index| sim.state(p(index)).is_some_and(is_decided)),
            EVENTS_MAX,
        )
    });
}

#[test]
fn a_value_is_given_again_to_who_asks_again_and_not_for_ever() {
    seeds(0..10, |seed| {
        let answers = Rc::new(RefCell::new([0; 4]));
        let counted = Rc::clone(&answers);
        let ask = move |letter: Option<&Letter<Said>>, hand: &mut Hand<'_, Agreement>| {
            let Some(letter) = letter else { return };
            if matches!(*letter.body, Message::Answer { .. }) {
                counted.borrow_mut()[letter.from.index()] += 1;
                return;
            }
            for proposer in 0..3 {
                let digest = digest_of(&input(p(proposer)));
                hand.send(p(3), letter.from, Message::Ask { digest });
            }
        };
        let mut sim =
            builder(&optimal(4), seed).corrupt([p(3)], Script(ask)).build(|_| Agreement::new());
        decide(&mut sim)?;
        assert_eq!(*answers.borrow(), [4, 4, 4, 0]);
        Ok(())
    });
}

struct NoProposalsFor(Party, Network);

impl Scheduler<Said> for NoProposalsFor {
    fn route(&mut self, letter: &Letter<Said>, random: &mut Random) -> Fate {
        match &*letter.body {
            Message::Propose { .. } if letter.to == self.0 => {
                Fate::Arrives(Duration(1_000_000_000))
            }
            _ => self.1.route(letter, random),
        }
    }

    fn local(&mut self, p: Party, what: Local, r: &mut Random) -> Duration {
        Scheduler::<Said>::local(&mut self.1, p, what, r)
    }
}

#[test]
fn two_runs_of_one_seed_are_the_same() {
    check_deterministic(3, |seed| {
        let mut sim = builder(&optimal(4), seed).build(|_| Agreement::new());
        decide(&mut sim)?;
        Ok(sim.digest())
    })
    .unwrap();
}

#[test]
fn the_decided_value_is_an_honest_proposal_often_enough() {
    // A liar that runs the code is elected in about one of four runs.
    let mut by_liar = 0;
    seeds(0..200, |seed| {
        let mut sim = builder(&optimal(4), seed)
            .corrupt([p(3)], maftia_sim::attacks::Passive)
            .build(|_| Agreement::new());
        sim.command(p(3), Command::Propose(input(p(3))));
        decide(&mut sim)?;
        by_liar += u64::from(decided(&sim, p(0)).0 == input(p(3)));
        Ok(())
    });
    println!("decided the fourth server's value in {by_liar} of 200 runs");
    assert!((20..90).contains(&by_liar));
}

/// Keys of the real suite, dealt afresh.
fn real_keys(structure: &AdversaryStructure, seed: u64) -> Vec<RealKeyring> {
    let spec = DealSpec {
        structure: structure.clone(),
        sharing: Formula::exact(structure),
        epoch: Epoch(seed),
        context: Digest::default(),
        rsa: Vec::new(),
    };
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let (public, servers) = deal(&spec, &mut rng, &mut |_| ()).unwrap();
    let keyring = |server| RealKeyring::new(public.clone(), server).unwrap();
    servers.into_iter().map(keyring).collect()
}

#[test]
fn decides_with_real_signatures_and_coins_beside_a_server_that_forges() {
    for structure in [optimal(4), sites()] {
        seeds(0..3, |seed| {
            let last = p(structure.n() - 1);
            let spoil = |letter: &Letter<Message<RealSuite, u64>>, _: &mut Random| {
                vec![match (*letter.body).clone() {
                    Message::Echo { view, step, .. } => {
                        Message::Echo { view, step, signature: RealSuite::bad_signature() }
                    }
                    other => other,
                }]
            };
            let mut sim = Simulation::builder(groups(&structure, seed), seed)
                .worker(worker(real_keys(&structure, seed)))
                .application(judge)
                .check(same())
                .footprint_max(ITEMS_PER_PARTY_MAX * structure.n())
                .corrupt([last], Mutator(spoil))
                .build(|_| ValidatedAgreement::<RealSuite, u64>::new());
            sim.command(last, Command::Propose(input(last)));
            decide(&mut sim)
        });
    }
}
