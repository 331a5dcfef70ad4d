use crate::world::*;
use maftia_agreement::broadcast::coded::{
    CodedBroadcast, Command, Message, Outcome, Record, code_of, footprint_max, honest_in_any_quorum,
};
use maftia_base::time::Duration;
use maftia_base::wire::{Blob, EncodeSize};
use maftia_base::{AdversaryStructure, FaultKind, Party, PartySet};
use maftia_crypto::{
    Code, CodedValue, Commitment, Done, Encoded, IdealSuite, PIECE_BYTES, Piece, RealSuite, Work,
    commit_to,
};
use maftia_sim::attacks::{Flooder, Mutator, Mute, Replayer, Script, Silent, Twins};
use maftia_sim::{
    Adversary, Builder, Crashes, Failure, Fate, Hand, Letter, Local, Network, Random, Scheduler,
    Simulation, check_deterministic, explore, seeds,
};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

type Broadcast<S = IdealSuite> = CodedBroadcast<S>;
type Sim = Simulation<Broadcast>;

/// Bytes that differ from seed to seed.
pub(crate) fn value(length: usize, seed: u64) -> CodedValue {
    let byte = |i: usize| (i as u64 * 0x9e37 + (i as u64 >> 8) + seed * 77) as u8;
    CodedValue::new((0..length).map(byte).collect::<Vec<u8>>()).expect("short")
}

/// A value of no byte, of few, of one full stripe, of some stripes.
fn some_value(structure: &AdversaryStructure, seed: u64) -> CodedValue {
    let stripe = honest_in_any_quorum(structure) * PIECE_BYTES;
    let lengths = [5, 0, 1, 1000, stripe, stripe + 1, 3 * stripe - 9];
    // The large ones are dear, so most are small.
    value(lengths[if seed.is_multiple_of(6) { (seed / 6 % 7) as usize } else { 3 }], seed)
}

pub(crate) fn encode(structure: &AdversaryStructure, value: &CodedValue) -> Encoded {
    let (code, value) = (code_of(structure), value.clone());
    match work_of::<IdealSuite>(structure, Work::Encode { code, value }) {
        Done::Encoded(encoded) => encoded,
        other => panic!("{other:?}"),
    }
}

/// Fragments that are no encoding, under one commitment: one byte of one of them is changed.
pub(crate) fn no_encoding(
    structure: &AdversaryStructure,
    value: &CodedValue,
    spoiled: usize,
) -> Encoded {
    let mut pieces: Vec<Vec<Blob<PIECE_BYTES>>> = encode(structure, value)
        .fragments
        .iter()
        .map(|fragment| fragment.iter().map(|piece| piece.bytes.clone()).collect())
        .collect();
    let mut bytes = pieces[spoiled][0].to_vec();
    bytes[0] ^= 1;
    pieces[spoiled][0] = Blob::new(bytes).expect("as long");
    commit_to(code_of(structure), value.len(), pieces)
}

fn start(
    structure: &AdversaryStructure,
    sender: Party,
    seed: u64,
    customize: impl FnOnce(Builder<Broadcast>) -> Builder<Broadcast>,
) -> Sim {
    let code = code_of(structure);
    let builder = builder::<IdealSuite, _>(structure, seed).footprint_max(footprint_max(code));
    customize(builder).build(move |_| Broadcast::new(sender, code))
}

fn told(outcome: &Outcome) -> Option<CodedValue> {
    let Outcome::Delivered { value, .. } = outcome;
    Some(value.clone())
}

/// The sender is honest: everybody delivers what it broadcast, once.
fn check_validity(sim: &mut Sim, sender: Party, value: &CodedValue) -> Result<(), Failure> {
    let command = |party| (party == sender).then(|| Command::Broadcast(value.clone()));
    run(sim, command, |sim| all_told(sim, 1))?;
    let delivered = same_everywhere(sim, told)?;
    assert_eq!(delivered.as_ref(), Some(value), "what an honest sender broadcast");
    for party in sim.honest().iter() {
        assert_eq!(sim.outcomes(party).len(), 1, "delivered once");
    }
    Ok(())
}

/// The sender is corrupt: all deliver the same, or nobody does.
fn check_totality(sim: &mut Sim) -> Result<Option<CodedValue>, Failure> {
    run(sim, |_| None, |_| true)?;
    let delivered = same_everywhere(sim, told)?;
    for party in sim.honest().iter() {
        let expected = usize::from(delivered.is_some());
        assert_eq!(sim.outcomes(party).len(), expected, "all or none, and once");
    }
    Ok(delivered)
}

fn structures_of_four_and_more() -> Vec<(AdversaryStructure, PartySet)> {
    let mut structures = structures();
    structures.remove(0);
    structures.push((threshold(10), parties([0, 4, 9])));
    structures
}

fn first_honest(structure: &AdversaryStructure, corrupt: PartySet) -> Party {
    let honest = PartySet::all(structure.n()).difference(corrupt);
    honest.iter().next().expect("somebody is honest")
}

fn first_of(parties: PartySet) -> Party {
    parties.iter().next().expect("not empty")
}

/// All subsets of `set`.
fn subsets(set: PartySet) -> Vec<PartySet> {
    let members: Vec<Party> = set.iter().collect();
    let subset = |bits: u32| {
        let chosen = |(i, _): &(usize, &Party)| bits >> i & 1 == 1;
        members.iter().enumerate().filter(chosen).map(|(_, party)| *party).collect()
    };
    (0..1 << members.len()).map(subset).collect()
}

#[test]
fn k_is_the_least_number_of_honest_servers_in_any_quorum() {
    let textbook: Vec<PartySet> = (0..4).map(|i| parties([i, (i + 1) % 4, 4 + i])).collect();
    let mut structures: Vec<AdversaryStructure> = (1..=10).map(threshold).collect();
    structures.push(AdversaryStructure::threshold(9, 1).expect("well-formed"));
    structures.push(lopsided());
    structures.push(AdversaryStructure::general(9, &textbook).expect("well-formed"));
    structures.push(AdversaryStructure::general(4, &[]).expect("well-formed"));
    // One server that is never corrupt: k may be 1.
    let trusted = [parties([0, 1]), parties([2]), parties([1, 2])];
    structures.push(AdversaryStructure::general(4, &trusted).expect("well-formed"));
    for structure in structures {
        structure.check_q3().expect("these are meant to satisfy it");
        let all = subsets(PartySet::all(structure.n()));
        let quorums: Vec<_> = all.iter().filter(|set| structure.is_quorum(**set)).collect();
        let corrupt: Vec<_> = all.iter().filter(|set| structure.may_be_corrupt(**set)).collect();
        let honest = |quorum: &&PartySet| {
            corrupt.iter().map(|corrupt| quorum.difference(**corrupt).len()).min()
        };
        let least = quorums.iter().filter_map(honest).min().expect("there is a quorum");
        assert_eq!(honest_in_any_quorum(&structure), least, "{structure:?}");
        assert_eq!(code_of(&structure).k(), least);
    }
    let largest = AdversaryStructure::optimal(64).expect("well-formed");
    assert_eq!(honest_in_any_quorum(&largest), 22, "without listing all sets of 21 of 64");
}

#[test]
fn all_deliver_what_an_honest_sender_broadcasts_in_any_order() {
    let mut all = structures_of_four_and_more();
    all.push((threshold(1), PartySet::EMPTY));
    all.push((threshold(3), PartySet::EMPTY));
    for (structure, corrupt) in all {
        seeds(0..42, |seed| {
            let sender = first_honest(&structure, corrupt);
            let value = some_value(&structure, seed);
            let silent = |b: Builder<Broadcast>| b.corrupt(corrupt.iter(), Silent);
            check_validity(&mut start(&structure, sender, seed, silent), sender, &value)?;
            let lossy = Network::lossy(200).duplicating(200);
            let lossy = |b: Builder<Broadcast>| b.network(lossy);
            check_validity(&mut start(&structure, sender, seed, lossy), sender, &value)
        });
    }
}

#[test]
fn everybody_may_crash_and_lose_unsynced_writes_on_a_network_that_loses_messages() {
    let mut crashes_seen = 0;
    for (structure, corrupt) in structures_of_four_and_more() {
        let sender = first_honest(&structure, corrupt);
        seeds(0..60, |seed| {
            let crashes = Crashes {
                parties: PartySet::all(structure.n()).difference(corrupt),
                permille: 150,
                crashes_max: 12,
                ..Crashes::default()
            };
            let value = some_value(&structure, seed);
            let mut sim = start(&structure, sender, seed, |builder| {
                let lossy = Network::lossy(if seed % 2 == 0 { 0 } else { 150 });
                builder.corrupt(corrupt.iter(), Silent).crashes(crashes).network(lossy)
            });
            check_validity(&mut sim, sender, &value)?;
            crashes_seen += sim.stats().crashes;
            Ok(())
        });
    }
    assert!(crashes_seen > 1000, "{crashes_seen}");
}

#[test]
fn all_or_none_deliver_one_value_of_a_sender_with_two_faces() {
    let (mut delivered, mut runs) = (0, 0);
    for (structure, corrupt) in structures_of_four_and_more() {
        let sender = first_of(corrupt);
        seeds(0..60, |seed| {
            let second = parties((0..structure.n()).filter(|i| (seed >> i) & 1 == 1));
            let crashes = Crashes {
                parties: PartySet::all(structure.n()).difference(corrupt),
                permille: 50,
                crashes_max: 4,
                ..Crashes::default()
            };
            let mut sim = start(&structure, sender, seed, |builder| {
                let builder = builder.network(Network::lossy(100)).crashes(crashes);
                builder.corrupt(corrupt.iter(), Twins { second })
            });
            let values = [some_value(&structure, seed), value(777, seed)];
            sim.command_copy(sender, 0, Command::Broadcast(values[0].clone()));
            sim.command_copy(sender, 1, Command::Broadcast(values[1].clone()));
            let told = check_totality(&mut sim)?;
            assert!(told.as_ref().is_none_or(|told| values.contains(told)));
            delivered += u64::from(told.is_some());
            runs += 1;
            Ok(())
        });
    }
    assert!(0 < delivered && delivered < runs, "both happens: {delivered} of {runs}");
}

/// A sender without honest code that says what `says` makes of the seed.
fn liar(says: impl Fn(&mut Hand<'_, Broadcast>) + 'static) -> impl Adversary<Broadcast> + 'static {
    Script(move |heard: Option<&Letter<Message>>, hand: &mut Hand<'_, Broadcast>| {
        if heard.is_none() {
            says(hand);
        }
    })
}

/// All pieces of `to`'s fragment from the sender, and of all fragments of the sender's friends,
/// and their READY: as much help as there can be.
fn support(hand: &mut Hand<'_, Broadcast>, sender: Party, to: Party, encoded: &Encoded) {
    let commitment = encoded.commitment;
    for piece in &encoded.fragments[to.index()] {
        hand.send(sender, to, Message::Send { commitment, piece: piece.clone() });
    }
    for friend in hand.parties().iter() {
        for piece in &encoded.fragments[friend.index()] {
            hand.send(friend, to, Message::Echo { commitment, piece: piece.clone() });
        }
        hand.send(friend, to, Message::Ready(commitment));
    }
}

#[test]
fn nobody_delivers_what_is_no_encoding_and_all_who_saw_enough_of_it_suspect_the_sender() {
    for (structure, corrupt) in structures_of_four_and_more() {
        let sender = first_of(corrupt);
        seeds(0..24, |seed| {
            let spoiled = seed as usize % structure.n();
            let bad = no_encoding(&structure, &some_value(&structure, seed), spoiled);
            let mut sim = start(&structure, sender, seed, |builder| {
                let says = move |hand: &mut Hand<'_, Broadcast>| {
                    for to in hand.victims().iter() {
                        support(hand, sender, to, &bad);
                    }
                };
                builder.corrupt(corrupt.iter(), liar(says))
            });
            assert_eq!(check_totality(&mut sim)?, None);
            for party in sim.honest().iter() {
                let suspects = sim.blames().iter().any(|(by, fault)| {
                    (*by, fault.culprit, fault.kind) == (party, sender, FaultKind::InvalidValue)
                });
                assert!(suspects, "{party} got fragments of everybody");
            }
            Ok(())
        });
    }
}

#[test]
fn all_or_none_deliver_when_some_get_fragments_of_something_else_or_of_nothing() {
    let (mut delivered, mut runs) = (0, 0);
    for (structure, corrupt) in structures_of_four_and_more() {
        let sender = first_of(corrupt);
        seeds(0..80, |seed| {
            let good_value = some_value(&structure, seed);
            let good = encode(&structure, &good_value);
            let bad = no_encoding(&structure, &good_value, seed as usize % structure.n());
            let crashes = Crashes {
                parties: PartySet::all(structure.n()).difference(corrupt),
                permille: 50,
                crashes_max: 4,
                ..Crashes::default()
            };
            let mut sim = start(&structure, sender, seed, |builder| {
                let says = move |hand: &mut Hand<'_, Broadcast>| {
                    for to in hand.victims().iter() {
                        match hand.random().below(6) {
                            0 => support(hand, sender, to, &bad),
                            1 => {}
                            _ => support(hand, sender, to, &good),
                        }
                    }
                };
                let builder = builder.network(Network::lossy(100)).crashes(crashes);
                builder.corrupt(corrupt.iter(), liar(says))
            });
            let told = check_totality(&mut sim)?;
            assert!(told.as_ref().is_none_or(|told| *told == good_value));
            delivered += u64::from(told.is_some());
            runs += 1;
            Ok(())
        });
    }
    assert!(0 < delivered && delivered < runs, "both happens: {delivered} of {runs}");
}

#[test]
fn all_or_none_deliver_when_the_sender_and_its_friends_are_mute_towards_some() {
    let (mut delivered, mut runs) = (0, 0);
    for (structure, corrupt) in structures_of_four_and_more() {
        let sender = first_of(corrupt);
        seeds(0..60, |seed| {
            let towards = parties((0..structure.n()).filter(|i| ((seed * 7) >> i) & 3 == 1));
            let mut sim = start(&structure, sender, seed, |builder| {
                builder.network(Network::lossy(50)).corrupt(corrupt.iter(), Mute { towards })
            });
            sim.command(sender, Command::Broadcast(some_value(&structure, seed)));
            delivered += u64::from(check_totality(&mut sim)?.is_some());
            runs += 1;
            Ok(())
        });
    }
    assert!(0 < delivered && delivered < runs, "both happens: {delivered} of {runs}");
}

#[test]
fn a_server_that_the_sender_passes_over_delivers_from_what_others_echo_and_helps_others() {
    let structure = threshold(4);
    seeds(0..40, |seed| {
        let value = some_value(&structure, seed);
        let mut sim = start(&structure, p(0), seed, |builder| {
            builder.corrupt(
                [p(0)],
                Mutator(|letter: &Letter<Message>, _: &mut Random| {
                    let kept = matches!(&*letter.body, Message::Send { .. }) && letter.to == p(3);
                    if kept { vec![] } else { vec![(*letter.body).clone()] }
                }),
            )
        });
        sim.command(p(0), Command::Broadcast(value.clone()));
        assert_eq!(check_totality(&mut sim)?, Some(value.clone()));
        let kept = sim.state(p(3)).expect("up").records(None);
        let pieces = kept.iter().filter(|record| matches!(record, Record::Echoed { .. }));
        assert_eq!(pieces.count(), code_of(&structure).pieces(value.len()), "a whole fragment");
        Ok(())
    });
}

#[test]
fn who_decodes_before_it_has_its_own_fragment_still_counts_in_the_quorums_of_others() {
    for (structure, corrupt) in structures_of_four_and_more() {
        let sender = first_honest(&structure, corrupt);
        let others = PartySet::all(structure.n()).difference(corrupt);
        let favoured = others.iter().last().expect("not empty");
        let mut towards = others;
        towards.remove(favoured);
        seeds(0..60, |seed| {
            let mute = Mute { towards };
            let mut sim = start(&structure, sender, seed, |b| b.corrupt(corrupt.iter(), mute));
            check_validity(&mut sim, sender, &some_value(&structure, seed))
        });
    }
}

/// What a corrupt server makes of a piece.
pub(crate) fn spoil(piece: &Piece, random: &mut Random) -> Piece {
    let mut spoiled = piece.clone();
    match random.below(4) {
        0 => {
            let mut bytes = piece.bytes.to_vec();
            let at = random.below(bytes.len() as u64) as usize;
            bytes[at] ^= 1;
            spoiled.bytes = Blob::new(bytes).expect("as long");
        }
        1 => spoiled.path = Default::default(),
        2 => spoiled.number = random.below(256) as u8,
        _ => {
            let bytes = vec![1; random.below(PIECE_BYTES as u64 + 1) as usize];
            spoiled.bytes = Blob::new(bytes).expect("short");
        }
    }
    spoiled
}

#[test]
fn pieces_that_do_not_hold_count_for_nothing_and_are_blamed() {
    for (structure, corrupt) in structures_of_four_and_more() {
        let sender = first_honest(&structure, corrupt);
        seeds(0..40, |seed| {
            let value = some_value(&structure, seed);
            let mut sim = start(&structure, sender, seed, |builder| {
                builder.corrupt(
                    corrupt.iter(),
                    Mutator(|letter: &Letter<Message>, random: &mut Random| {
                        match (*letter.body).clone() {
                            Message::Echo { commitment, piece } => {
                                let piece = spoil(&piece, random);
                                vec![Message::Echo { commitment, piece }]
                            }
                            other => vec![other],
                        }
                    }),
                )
            });
            check_validity(&mut sim, sender, &value)?;
            let faults = sim.blames().iter().filter(|(_, fault)| fault.evidence.is_some());
            assert_eq!(faults.count(), 0, "no signature, no evidence");
            Ok(())
        });
    }
    let structure = threshold(4);
    let mut blamed = 0;
    seeds(0..20, |seed| {
        let spoils =
            Mutator(|letter: &Letter<Message>, random: &mut Random| match (*letter.body).clone() {
                Message::Echo { commitment, piece } => {
                    vec![Message::Echo { commitment, piece: spoil(&piece, random) }; 3]
                }
                other => vec![other],
            });
        let mut sim = start(&structure, p(0), seed, |b| b.corrupt([p(3)], spoils));
        check_validity(&mut sim, p(0), &value(1000, seed))?;
        let by = |party| sim.blames().iter().filter(move |(by, _)| *by == party).count();
        assert!((0..3).all(|i| by(p(i)) <= 1), "once, then it is not listened to");
        blamed += sim.blames().len();
        Ok(())
    });
    assert!(blamed > 20, "most notice it before they are done: {blamed} of 60");
}

#[test]
fn what_was_said_in_another_instance_helps_nobody_and_harms_nobody() {
    for (structure, corrupt) in structures_of_four_and_more() {
        let sender = first_honest(&structure, corrupt);
        seeds(0..20, |seed| {
            let heard = Rc::new(RefCell::new(Vec::new()));
            let listener = Rc::clone(&heard);
            let other = value(900, seed + 1);
            let mut sim = start(&structure, sender, seed, |builder| {
                builder.corrupt(
                    corrupt.iter(),
                    Mutator(move |letter: &Letter<Message>, _: &mut Random| {
                        listener.borrow_mut().push((*letter.body).clone());
                        vec![(*letter.body).clone()]
                    }),
                )
            });
            check_validity(&mut sim, sender, &other)?;
            let all = encode(&structure, &other);
            let commitment = all.commitment;
            let others = all.fragments.into_iter().flatten();
            heard.borrow_mut().extend(others.map(|piece| Message::Echo { commitment, piece }));
            let mut sim = start(&structure, sender, seed, |builder| {
                let says = move |hand: &mut Hand<'_, Broadcast>| {
                    for body in heard.borrow().iter() {
                        for from in hand.parties().iter() {
                            hand.send_all(from, body.clone());
                        }
                    }
                };
                builder.corrupt(corrupt.iter(), liar(says))
            });
            check_validity(&mut sim, sender, &value(1000, seed))
        });
    }
}

#[test]
fn replays_and_floods_change_nothing() {
    let structure = threshold(7);
    seeds(0..40, |seed| {
        let value = some_value(&structure, seed);
        let mut sim = start(&structure, p(0), seed, |builder| {
            builder.corrupt([p(5)], Flooder { copies: 5 }).corrupt([p(6)], Replayer::new(500))
        });
        check_validity(&mut sim, p(0), &value)
    });
}

#[test]
fn many_roots_of_large_values_fill_one_fragment_of_each_liar_and_no_more() {
    let structure = threshold(4);
    let code = code_of(&structure);
    // Three pieces of each of many values, all of which hold; and readies for all of them.
    let lies: Vec<Encoded> =
        (0..20).map(|i| encode(&structure, &value(3 * 2 * PIECE_BYTES, 1000 + i))).collect();
    seeds(0..4, |seed| {
        let lies = lies.clone();
        let small = value(100, seed);
        let mut sim = start(&structure, p(0), seed, |builder| {
            let says = move |hand: &mut Hand<'_, Broadcast>| {
                for lie in &lies {
                    for to in hand.victims().iter() {
                        support(hand, p(3), to, lie);
                        hand.send(p(3), to, Message::Offer(lie.commitment));
                        hand.send(p(3), to, Message::Want { own: true });
                    }
                }
            };
            // Of the liar three pieces and a READY; of three others their own piece and READY; of
            // this server one, and the sender has one for each.
            builder.footprint_max(3 + 1 + 3 + 3 + 1 + 4).corrupt([p(3)], liar(says))
        });
        check_validity(&mut sim, p(0), &small)?;
        assert!(sim.is_blamed(p(3)));
        Ok(())
    });
    assert!(footprint_max(code) > 15, "the general bound is for the largest value");
}

#[test]
fn questions_without_end_are_answered_once_for_each_offer() {
    let structure = threshold(4);
    seeds(0..10, |seed| {
        let echoes = Rc::new(RefCell::new(0));
        let counter = Rc::clone(&echoes);
        let asks = Script(move |heard: Option<&Letter<Message>>, hand: &mut Hand<'_, _>| {
            if heard.is_some_and(|letter| matches!(&*letter.body, Message::Echo { .. })) {
                *counter.borrow_mut() += 1;
            }
            for _ in 0..20 {
                hand.send_all(p(3), Message::Want { own: true });
            }
        });
        let mut sim = start(&structure, p(0), seed, |builder| builder.corrupt([p(3)], asks));
        check_validity(&mut sim, p(0), &value(1000, seed))?;
        sim.run_to_quiescence(EVENTS_MAX)?;
        let echoes = *echoes.borrow();
        assert!((3..=6).contains(&echoes), "each once unasked and once more: {echoes}");
        Ok(())
    });
}

#[test]
fn a_server_that_comes_after_all_others_are_done_asks_and_delivers() {
    for structure in [threshold(4), threshold(7), lopsided()] {
        let late = p(structure.n() - 1);
        seeds(0..20, |seed| {
            let value = some_value(&structure, seed);
            let mut sim = start(&structure, p(0), seed, |b| b.exceeding_the_structure());
            check_validity(&mut sim, p(0), &value)?;
            sim.run_to_quiescence(EVENTS_MAX)?;
            sim.wipe(late);
            sim.trust_again(late);
            sim.restart(late);
            sim.command(late, Command::Ask);
            sim.run_to_quiescence(EVENTS_MAX)?;
            assert_eq!(sim.outcomes(late).last().and_then(told), Some(value));
            Ok(())
        });
    }
}

/// The sender and its friend give four servers fragments of a value, and the fifth one of
/// something else; later they vouch for the value to whoever asks.
fn confuses_the_fifth(good: Encoded, bad: Encoded) -> impl Adversary<Broadcast> + 'static {
    Script(move |heard: Option<&Letter<Message>>, hand: &mut Hand<'_, Broadcast>| {
        let commitment = good.commitment;
        match heard.map(|letter| (letter.from, &*letter.body)) {
            None => {
                for to in hand.victims().iter() {
                    support(hand, p(6), to, if to == p(4) { &bad } else { &good });
                }
            }
            Some((asks, Message::Want { .. })) => {
                for friend in hand.parties().iter() {
                    hand.send(friend, asks, Message::Ready(commitment));
                }
            }
            Some(_) => {}
        }
    })
}

#[test]
fn whom_the_sender_gave_a_fragment_of_something_else_serves_that_of_the_value() {
    let structure = threshold(7);
    let code = code_of(&structure);
    seeds(0..40, |seed| {
        let value = some_value(&structure, seed);
        let (good, bad) = (encode(&structure, &value), encode(&structure, &self::value(900, seed)));
        let mut sim = start(&structure, p(6), seed, |builder| {
            let adversary = confuses_the_fifth(good.clone(), bad.clone());
            builder.exceeding_the_structure().corrupt([p(5), p(6)], adversary)
        });
        assert_eq!(check_totality(&mut sim)?, Some(value.clone()));
        sim.run_to_quiescence(EVENTS_MAX)?;
        let fragment = |sim: &Sim| {
            let records = sim.state(p(4)).expect("up").records(None);
            let of_value = |record: &&Record| match record {
                Record::Corrected { commitment, .. } => *commitment == good.commitment,
                _ => false,
            };
            records.iter().filter(of_value).count()
        };
        assert_eq!(fragment(&sim), code.pieces(value.len()));
        // With it and two more there are just as many fragments as are needed.
        sim.crash(p(0));
        if seed % 2 == 0 {
            sim.crash(p(4));
            sim.restart(p(4));
        }
        sim.wipe(p(3));
        sim.trust_again(p(3));
        sim.restart(p(3));
        sim.command(p(3), Command::Ask);
        sim.run_to_quiescence(EVENTS_MAX)?;
        assert_eq!(sim.outcomes(p(3)).last().and_then(told), Some(value));
        let blamed: PartySet = sim.blames().iter().map(|(_, fault)| fault.culprit).collect();
        assert!(!blamed.contains(p(4)), "it was deceived, and is honest");
        Ok(())
    });
}

#[test]
fn who_gives_fragments_of_two_values_is_blamed_and_counts_for_one() {
    let structure = threshold(4);
    let lies: Vec<Encoded> = (0..3).map(|i| encode(&structure, &value(700, 90 + i))).collect();
    seeds(0..20, |seed| {
        let (value, lies) = (value(1000, seed), lies.clone());
        let mut sim = start(&structure, p(0), seed, |builder| {
            let says = move |hand: &mut Hand<'_, Broadcast>| {
                for lie in &lies {
                    let (commitment, piece) = (lie.commitment, &lie.fragments[3][0]);
                    hand.send_all(p(3), Message::Give { commitment, piece: piece.clone() });
                    hand.send_all(p(3), Message::Echo { commitment, piece: piece.clone() });
                }
            };
            builder.corrupt([p(3)], liar(says))
        });
        check_validity(&mut sim, p(0), &value)?;
        let equivocation = |(_, fault): &&(Party, maftia_base::Fault)| {
            (fault.culprit, fault.kind) == (p(3), FaultKind::Equivocation)
        };
        assert!(sim.blames().iter().any(|blame| equivocation(&blame)), "{:?}", sim.blames());
        Ok(())
    });
}

#[test]
fn who_has_logged_what_it_delivered_asks_for_nothing_after_a_restart_and_tells_it_again() {
    let structure = threshold(4);
    let code = code_of(&structure);
    let (mut remembered, mut asked) = (0, 0);
    seeds(0..40, |seed| {
        let value = value(3 * code.k() * PIECE_BYTES - 1, seed);
        let mut sim = start(&structure, p(0), seed, |builder| builder);
        check_validity(&mut sim, p(0), &value)?;
        let party = p(seed as usize % 4);
        sim.crash(party);
        let knows = sim.log(party).0.iter().any(|record| matches!(record, Record::Delivered(_)));
        sim.mark();
        sim.restart(party);
        sim.run_to_quiescence(EVENTS_MAX)?;
        assert_eq!(sim.outcomes(party).len(), 1);
        assert_eq!(told(&sim.outcomes(party)[0]).as_ref(), Some(&value));
        // READY and OFFER, both ways: on three channels, and twice from who restarted.
        let is_short = sim.messages_since_mark() <= 3 * 3 * 2;
        assert!(is_short || !knows, "{}", sim.messages_since_mark());
        remembered += u64::from(knows);
        asked += u64::from(!knows);
        Ok(())
    });
    assert!(remembered > 0 && asked > 0, "both happens: {remembered}, {asked}");
}

#[test]
fn records_and_messages_fit_what_carries_them() {
    let structure = AdversaryStructure::optimal(4).expect("well-formed");
    let largest = value(maftia_agreement::broadcast::coded::CODED_BYTES_MAX, 1);
    let encoded = encode(&structure, &largest);
    let commitment = encoded.commitment;
    for piece in encoded.fragments.into_iter().flatten() {
        let message = Message::Echo { commitment, piece: piece.clone() };
        assert!(message.encode_size() <= PIECE_BYTES + 1024, "an eighth of what links carry");
        assert!(Record::Echoed { commitment, piece }.encode_size() <= PIECE_BYTES + 1024);
    }
}

#[test]
fn one_seed_is_one_run() {
    let scenario = |seed| {
        let mut sim = start(&threshold(4), p(0), seed, |b| b.network(Network::lossy(100)));
        check_validity(&mut sim, p(0), &value(1000, 1))?;
        Ok(sim.digest())
    };
    check_deterministic(3, scenario).expect("it runs");
}

#[test]
fn three_delays_and_three_durable_waits_whatever_the_size() {
    for length in [100, 1 << 20] {
        for network in [Network::unit_delay(), Network::unit_sync()] {
            let mut sim = start(&threshold(4), p(0), 0, |builder| builder.network(network));
            sim.mark();
            sim.command(p(0), Command::Broadcast(value(length, 0)));
            sim.run_until(|sim| all_told(sim, 1), EVENTS_MAX).expect("it runs");
            assert_eq!(sim.elapsed_units(), 3);
        }
    }
}

#[test]
fn it_runs_with_the_real_suite_too() {
    let structure = threshold(4);
    let code = code_of(&structure);
    let builder = builder::<RealSuite, Broadcast<RealSuite>>(&structure, 0);
    let mut sim = builder.build(move |_| Broadcast::new(p(0), code));
    let value = value(1_000_001, 3);
    sim.command(p(0), Command::Broadcast(value.clone()));
    sim.run_until(|sim| all_told(sim, 1), EVENTS_MAX).expect("it runs");
    assert_eq!(same_everywhere(&sim, told).expect("the same"), Some(value));
}

/// Counts bytes by sender and by receiver, on a network where every message takes one unit.
struct Meter {
    network: Network,
    sent: Rc<RefCell<BTreeMap<Party, usize>>>,
    received: Rc<RefCell<BTreeMap<Party, usize>>>,
}

impl Scheduler<Message> for Meter {
    fn route(&mut self, letter: &Letter<Message>, random: &mut Random) -> Fate {
        let bytes = letter.body.encode_size();
        *self.sent.borrow_mut().entry(letter.from).or_default() += bytes;
        *self.received.borrow_mut().entry(letter.to).or_default() += bytes;
        self.network.route(letter, random)
    }

    fn local(&mut self, party: Party, what: Local, random: &mut Random) -> Duration {
        Scheduler::<Message>::local(&mut self.network, party, what, random)
    }
}

#[test]
fn ten_mebibytes_cost_each_server_n_over_k_times_their_size() {
    const BYTES: usize = 10 << 20;
    // Votes, offers and paths.
    const SMALL: f64 = 0.01;
    for n in [4, 7, 10] {
        let structure = threshold(n);
        let (sent, received) = (Rc::default(), Rc::default());
        let network = Network::unit_delay();
        let meter = Meter { network, sent: Rc::clone(&sent), received: Rc::clone(&received) };
        let mut sim = start(&structure, p(0), 0, |builder| {
            builder.network(meter).measure(EncodeSize::encode_size).trace(0)
        });
        check_validity(&mut sim, p(0), &value(BYTES, 1)).expect("it runs");
        let of = |bytes: usize| bytes as f64 / BYTES as f64;
        let most = |of_party: &Rc<RefCell<BTreeMap<Party, usize>>>, from: usize| {
            let bytes = of_party.borrow();
            of((from..n).filter_map(|i| bytes.get(&p(i)).copied()).max().unwrap_or(0))
        };
        let ideal = n as f64 / honest_in_any_quorum(&structure) as f64;
        let mean = of(sim.stats().bytes as usize) / n as f64;
        let (sender, other, in_most) = (most(&sent, 0), most(&sent, 1), most(&received, 0));
        println!(
            "n = {n}: sent per server {mean:.3} times the value (n/(n-2f) = {ideal:.3}); the \
             sender {sender:.3}, another at most {other:.3}; received at most {in_most:.3}"
        );
        assert!(mean <= ideal * 1.2 + SMALL);
        assert!(other <= ideal + SMALL && in_most <= ideal + SMALL);
        assert!(sender <= 2.0 * ideal + SMALL);
    }
}

/// One corrupt sender, three honest servers, in every order of deliveries.
fn explored(
    runs_max: u64,
    says: impl Fn(&mut Hand<'_, Broadcast>) + Clone + 'static,
    verdict: impl Fn(Option<CodedValue>),
) -> maftia_sim::Explored {
    let structure = threshold(4);
    explore(runs_max, |network| {
        let says = says.clone();
        let mut sim = start(&structure, p(3), 0, |builder| {
            builder.network(network).corrupt([p(3)], liar(says)).trace(0)
        });
        verdict(check_totality(&mut sim)?);
        Ok(())
    })
}

#[test]
fn in_every_order_nobody_delivers_what_is_no_encoding() {
    let bad = no_encoding(&threshold(4), &value(40, 1), 2);
    let says = move |hand: &mut Hand<'_, Broadcast>| {
        for to in hand.victims().iter() {
            for piece in &bad.fragments[to.index()] {
                let (commitment, piece) = (bad.commitment, piece.clone());
                hand.send(p(3), to, Message::Send { commitment, piece });
            }
        }
    };
    let explored = explored(200_000, says, |told| assert_eq!(told, None));
    println!("{explored:?}");
    assert!(explored.is_complete);
}

#[test]
fn in_every_order_all_or_none_deliver_what_two_of_three_got_a_fragment_of() {
    let (good, other) = (encode(&threshold(4), &value(40, 1)), value(40, 2));
    let other = encode(&threshold(4), &other);
    let says = move |hand: &mut Hand<'_, Broadcast>| {
        for (to, encoded) in [(p(0), &good), (p(1), &good), (p(2), &other)] {
            let (commitment, piece) = (encoded.commitment, &encoded.fragments[to.index()][0]);
            hand.send(p(3), to, Message::Send { commitment, piece: piece.clone() });
        }
        // To one only: it makes the quorum, the others follow by READY.
        let (commitment, piece) = (good.commitment, &good.fragments[3][0]);
        hand.send(p(3), p(0), Message::Echo { commitment, piece: piece.clone() });
        hand.send(p(3), p(1), Message::Ready(commitment));
    };
    let explored = explored(30_000, says, |told| assert_eq!(told, Some(value(40, 1))));
    println!("{explored:?}");
    assert!(explored.is_complete || explored.orders > 1_000);
}

#[test]
fn commitments_are_the_same_for_the_same_value_and_differ_with_its_length() {
    let structure = threshold(4);
    let of = |bytes: &[u8]| -> Commitment {
        encode(&structure, &CodedValue::new(bytes.to_vec()).expect("short")).commitment
    };
    assert_eq!(of(b"value"), of(b"value"));
    assert_ne!(of(b"value"), of(b"value\0"), "padding is not part of a value");
    assert_ne!(of(b""), of(b"\0"));
    let wider = Code::new(7, 2).expect("well-formed");
    let value = CodedValue::new(b"value".to_vec()).expect("short");
    let work = Work::<IdealSuite>::Encode { code: wider, value };
    let Done::Encoded(wider) = work_of(&structure, work) else { panic!("fragments") };
    assert_ne!(wider.commitment, of(b"value"), "another code");
}
