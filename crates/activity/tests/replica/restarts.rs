use crate::world::{
    Attached, EVENTS_MAX, builder, common_ledger, front_end, front_end_reply, p, replica, serve,
};
use maftia_activity::client::ClientReply;
use maftia_activity::{Command, Outcome};
use maftia_base::{PartySet, time::Duration};
use maftia_sim::{Crashes, Network, seeds};

#[test]
fn crashes_of_any_servers_lose_nothing_answered_and_repeat_nothing() {
    seeds(0..20, |seed| {
        let crashes = Crashes {
            parties: PartySet::all(4),
            permille: 15,
            downtime: Duration(30_000),
            crashes_max: 12,
        };
        let mut sim =
            builder(4, seed).network(Network::random()).crashes(crashes).build(|_| replica());
        let mut clients: Vec<_> = (0..3).map(|number| Attached::new(4, seed, number)).collect();
        for round in 0..6 {
            for (number, client) in clients.iter_mut().enumerate() {
                client.submit(&format!("{number}/{round}"), sim.now());
            }
            serve(&mut sim, &mut clients)?;
        }
        sim.run_to_quiescence(EVENTS_MAX)?;
        let ledger = common_ledger(&sim);
        for (number, client) in clients.iter().enumerate() {
            assert_eq!(client.replies.len(), 6);
            assert!(client.replies.iter().all(|(_, r)| matches!(r, ClientReply::Plain(_))));
            for round in 0..6 {
                assert_eq!(ledger.count(format!("{number}/{round}").as_bytes()), 1);
            }
        }
        Ok(())
    });
}

#[test]
fn all_servers_crash_at_once_and_what_was_answered_is_still_there() {
    seeds(0..20, |seed| {
        let mut sim = builder(4, seed).build(|_| replica());
        for id in 0..40 {
            front_end(&mut sim, p(id as usize % 4), id, &format!("r{id}"));
        }
        let events = 500 + 137 * seed;
        for _ in 0..events {
            sim.step()?;
        }
        let answered: Vec<u64> = (0..40)
            .filter(|id| front_end_reply(&sim, p(*id as usize % 4), *id).is_some())
            .collect();
        for index in 0..4 {
            sim.crash_losing_unsynced(p(index));
        }
        for index in 0..4 {
            sim.restart(p(index));
        }
        // The same numbers must not be used again for other requests.
        for id in 100..104 {
            front_end(&mut sim, p(id as usize % 4), id, &format!("r{id}"));
        }
        sim.run_to_quiescence(EVENTS_MAX)?;
        let ledger = common_ledger(&sim);
        for id in answered {
            assert_eq!(ledger.count(format!("r{id}").as_bytes()), 1, "r{id} was answered");
        }
        for id in 0..40 {
            assert!(ledger.count(format!("r{id}").as_bytes()) <= 1);
        }
        for id in 100..104 {
            assert!(front_end_reply(&sim, p(id as usize % 4), id).is_some());
            assert_eq!(ledger.count(format!("r{id}").as_bytes()), 1);
        }
        Ok(())
    });
}

#[test]
fn the_replay_of_a_log_gives_the_same_state_and_answers_nobody() {
    let mut sim = builder(4, 5).build(|_| replica());
    let mut clients = [Attached::new(4, 5, 0)];
    clients[0].submit("hello", sim.now());
    serve(&mut sim, &mut clients).expect("answered");
    front_end(&mut sim, p(2), 1, "sign:it");
    sim.run_to_quiescence(EVENTS_MAX).expect("it ends");
    let before = sim.state(p(2)).expect("up").snapshot();
    sim.crash(p(2));
    sim.restart(p(2));
    sim.run_to_quiescence(EVENTS_MAX).expect("it ends");
    assert_eq!(sim.state(p(2)).expect("up").snapshot(), before);
    let answers = sim.outcomes(p(2)).iter().filter(|outcome| {
        matches!(outcome, Outcome::ClientReplies(_) | Outcome::FrontEndReply { .. })
    });
    assert_eq!(answers.count(), 0);
}

#[test]
fn an_epoch_change_under_load_loses_and_repeats_nothing() {
    seeds(0..10, |seed| {
        let mut sim = builder(4, seed).build(|_| replica());
        for id in 0..40 {
            front_end(&mut sim, p(id as usize % 4), id, &format!("r{id}"));
        }
        for _ in 0..300 + 100 * seed {
            sim.step()?;
        }
        sim.command(p(0), Command::ChangeEpoch);
        sim.command(p(1), Command::ChangeEpoch);
        for id in 40..80 {
            front_end(&mut sim, p(id as usize % 4), id, &format!("r{id}"));
        }
        sim.run_to_quiescence(EVENTS_MAX)?;
        let ledger = common_ledger(&sim);
        for id in 0..80 {
            assert!(front_end_reply(&sim, p(id as usize % 4), id).is_some(), "r{id}");
            assert_eq!(ledger.count(format!("r{id}").as_bytes()), 1);
        }
        assert_eq!(sim.state(p(3)).expect("up").epoch().0, 1);
        Ok(())
    });
}
