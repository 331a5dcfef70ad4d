use crate::world::{
    EVENTS_MAX, SERVICE, Sim, builder, common_ledger, front_end, last_wake, p, replica,
};
use maftia_activity::{AgreedTime, Command, Outcome, TaskId};
use maftia_base::wire::{Blob, Bytes, Encode};
use maftia_base::{Party, ServiceId};
use maftia_sim::attacks::Passive;
use maftia_sim::{CLOCK_START, seeds};

fn result(sim: &mut Sim, party: Party, id: TaskId, result: &'static [u8]) {
    let result = Blob::new(result).expect("short");
    sim.command(party, Command::TaskResult { service: SERVICE, id, result });
}

fn tasks(sim: &Sim, party: Party) -> Vec<TaskId> {
    let told = sim.outcomes(party).iter().filter_map(|outcome| match outcome {
        Outcome::Task { task, .. } => Some(task.id),
        _ => None,
    });
    told.collect()
}

#[test]
fn a_wake_needs_an_honest_server_whose_clock_says_so() {
    seeds(0..10, |seed| {
        let mut sim = builder(4, seed).corrupt([p(3)], Passive).build(|_| replica());
        let far = AgreedTime(2 * CLOCK_START.0);
        front_end(&mut sim, p(0), 1, &format!("wake:{}", far.0));
        sim.run_to_quiescence(EVENTS_MAX)?;
        assert_eq!(last_wake(&sim, p(0)), Some(far));
        sim.command(p(3), Command::WakeDue(far));
        // An honest server that is told of an earlier time vouches for nothing.
        sim.command(p(0), Command::WakeDue(AgreedTime(far.0 - 1)));
        sim.run_to_quiescence(EVENTS_MAX)?;
        assert!(common_ledger(&sim).woken.is_empty(), "the liar alone wakes nobody");
        sim.command(p(0), Command::WakeDue(far));
        sim.run_to_quiescence(EVENTS_MAX)?;
        for party in sim.honest().iter() {
            assert_eq!(crate::world::ledger(&sim, party).woken, [far]);
            assert_eq!(last_wake(&sim, party), None, "told that it is over");
        }
        Ok(())
    });
}

#[test]
fn a_wake_needs_no_vouching_when_ordinary_traffic_moves_time_past_it() {
    let mut sim = builder(4, 1).build(|_| replica());
    front_end(&mut sim, p(0), 1, &format!("wake:{}", CLOCK_START.0 + 1));
    sim.run_to_quiescence(EVENTS_MAX).expect("it ends");
    front_end(&mut sim, p(1), 2, "anything");
    sim.run_to_quiescence(EVENTS_MAX).expect("it ends");
    assert_eq!(common_ledger(&sim).woken.len(), 1);
}

#[test]
fn the_outside_is_what_an_honest_server_reports() {
    seeds(0..10, |seed| {
        let mut sim = builder(4, seed).corrupt([p(3)], Passive).build(|_| replica());
        front_end(&mut sim, p(0), 1, "task:look");
        sim.run_to_quiescence(EVENTS_MAX)?;
        let id = tasks(&sim, p(0))[0];
        for _ in 0..3 {
            result(&mut sim, p(3), id, b"lie");
            sim.run_to_quiescence(EVENTS_MAX)?;
        }
        assert!(common_ledger(&sim).done.is_empty(), "saying it three times makes it no truer");
        result(&mut sim, p(0), id, b"truth");
        sim.run_to_quiescence(EVENTS_MAX)?;
        // A server that restarts is asked again for what it has not reported.
        sim.crash(p(1));
        sim.restart(p(1));
        sim.run_to_quiescence(EVENTS_MAX)?;
        assert_eq!(tasks(&sim, p(1)), [id]);
        result(&mut sim, p(0), id, b"another truth");
        result(&mut sim, p(1), id, b"truth");
        sim.run_to_quiescence(EVENTS_MAX)?;
        assert_eq!(common_ledger(&sim).done, [b"truth".to_vec()]);
        Ok(())
    });
}

fn over(sim: &Sim, party: Party) -> Vec<TaskId> {
    let told = sim.outcomes(party).iter().filter_map(|outcome| match outcome {
        Outcome::TaskOver { id, .. } => Some(*id),
        _ => None,
    });
    told.collect()
}

#[test]
fn a_server_is_told_when_its_outside_work_is_over() {
    seeds(0..10, |seed| {
        let mut sim = builder(4, seed).build(|_| replica());
        front_end(&mut sim, p(0), 1, "task:look");
        sim.run_to_quiescence(EVENTS_MAX)?;
        let id = tasks(&sim, p(0))[0];
        assert_eq!(over(&sim, p(0)), []);
        result(&mut sim, p(0), id, b"truth");
        sim.run_to_quiescence(EVENTS_MAX)?;
        assert_eq!(over(&sim, p(0)), [id], "its own result is ordered");
        assert_eq!(over(&sim, p(2)), [], "the others still have to look");
        result(&mut sim, p(1), id, b"truth");
        sim.run_to_quiescence(EVENTS_MAX)?;
        for party in [p(0), p(1), p(2), p(3)] {
            assert_eq!(tasks(&sim, party), [id], "told once");
            assert_eq!(over(&sim, party), [id], "nobody needs a further result");
        }
        Ok(())
    });
}

#[test]
fn a_question_is_answered_out_of_this_servers_state() {
    let mut sim = builder(4, 1).build(|_| replica());
    front_end(&mut sim, p(0), 1, "entry");
    sim.run_to_quiescence(EVENTS_MAX).expect("it ends");
    let ask = |sim: &mut Sim, id: u64, service: ServiceId, question: &'static [u8]| {
        sim.mark();
        sim.command(p(1), Command::Read { id, service, question: Bytes::from_static(question) });
        sim.run_to_quiescence(EVENTS_MAX).expect("it ends");
        assert_eq!(sim.messages_since_mark(), 0, "nobody else is asked");
        let answers = sim.outcomes(p(1)).iter().filter_map(|outcome| match outcome {
            Outcome::Answer { id: asked, answer } if *asked == id => Some(answer.clone()),
            _ => None,
        });
        let [answer] = answers.collect::<Vec<_>>().try_into().expect("one answer");
        answer
    };
    assert_eq!(ask(&mut sim, 1, SERVICE, b"entry"), Some(1u64.encode()));
    assert_eq!(ask(&mut sim, 2, SERVICE, b"another"), Some(0u64.encode()));
    assert_eq!(ask(&mut sim, 3, SERVICE, b"nothing"), None);
    assert_eq!(ask(&mut sim, 4, ServiceId(SERVICE.0 + 1), b"entry"), None);
}

#[test]
fn an_idle_group_says_nothing() {
    let mut sim = builder(4, 1).build(|_| replica());
    front_end(&mut sim, p(0), 1, "sign:once");
    sim.run_to_quiescence(EVENTS_MAX).expect("it ends");
    sim.mark();
    sim.run_for(maftia_base::time::Duration(60_000_000), EVENTS_MAX).expect("it ends");
    assert_eq!(sim.messages_since_mark(), 0);
}
