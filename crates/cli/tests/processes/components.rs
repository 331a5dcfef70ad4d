//! Groups of three servers with trusted components: what comes back, what is admitted, and what
//! stands still.

use crate::maftia;
use crate::support::{Load, Town, wait_until};
use maftia::home::JOURNAL;
use maftia_agreement::hybrid::OrderedBy;
use std::process::Command;

/// A group in the hybrid configuration that runs.
pub(crate) fn running() -> Town {
    running_by(OrderedBy::Identifiers)
}

fn running_by(ordered_by: OrderedBy) -> Town {
    let mut town = Town::deal_as(maftia(), 3, Some(ordered_by));
    town.start_all().unwrap();
    town
}

/// The epoch that a server is in, if it is a member.
fn epoch_of_member(town: &Town, index: usize) -> Option<u64> {
    let status = town.server(index)?.status().ok()?;
    (status["standing"] == "member").then(|| status["progress"]["epoch"].as_u64())?
}

/// What a server said.
fn log(town: &Town, index: usize) -> String {
    std::fs::read_to_string(town.log(index)).unwrap()
}

/// Has the server's journal been set aside?
fn gave_up_a_journal(town: &Town, index: usize) -> bool {
    town.home(index).join(JOURNAL).with_extension("aside-1").exists()
}

#[test]
fn three_servers_killed_at_once_come_back_to_their_components_and_lose_nothing() {
    killed_at_once(running_by(OrderedBy::Identifiers));
    killed_at_once(running_by(OrderedBy::Service));
}

fn killed_at_once(mut town: Town) {
    let load = Load::start(&town, 3, 4);
    load.wait_for(200);
    town.kill(0..3);
    town.start_all().unwrap();
    load.wait_for(200);
    load.settle();
    for index in 0..3 {
        assert_eq!(epoch_of_member(&town, index), Some(0), "nobody had to be admitted");
        assert!(!gave_up_a_journal(&town, index));
    }
    town.stamp(1);
    town.stop_all().unwrap();
}

#[test]
fn a_server_whose_component_restarts_under_load_is_admitted_and_needed() {
    component_restarts(running_by(OrderedBy::Identifiers));
    component_restarts(running_by(OrderedBy::Service));
}

fn component_restarts(mut town: Town) {
    let load = Load::start(&town, 3, 4);
    load.wait_for(100);
    town.kill_component(1);
    town.start_component(1).unwrap();
    wait_until("the others admit the new life", || {
        epoch_of_member(&town, 1).is_some_and(|epoch| epoch > 0)
    });
    assert!(!gave_up_a_journal(&town, 1), "it has what it signed, and goes on with it");
    load.wait_for(100);
    town.kill([2]);
    load.wait_for(100);
    town.start(2).unwrap();
    load.settle();
    town.stamp(2);
    town.stop_all().unwrap();
}

#[test]
fn when_more_components_restart_than_may_be_faulty_nobody_gives_up_a_journal() {
    let mut town = running();
    town.stamp(0);
    for index in [0, 1] {
        town.kill_component(index);
    }
    for index in [0, 1] {
        town.start_component(index).unwrap();
    }
    for index in [0, 1] {
        wait_until("it says what it waits for", || log(&town, index).contains("cannot go on"));
        wait_until("its status says so, too", || {
            let status = town.server(index).and_then(|server| server.status().ok());
            status.is_some_and(|status| status["standing"] == "waiting")
        });
        assert!(!gave_up_a_journal(&town, index), "it may be all that there is");
    }
    assert_eq!(epoch_of_member(&town, 2), Some(0));
    town.stop_all().unwrap();
}

#[test]
fn status_tells_of_each_wormhole_and_asking_for_its_life_disturbs_nobody() {
    let mut town = running();
    let group = town.dir().join("group.toml");
    let ask = |arguments: &[&str]| {
        let mut command = Command::new(maftia());
        let output = command.args(arguments).arg("--group").arg(&group).output().unwrap();
        (output.status.success(), String::from_utf8(output.stdout).unwrap())
    };
    wait_until("every component has told how it is", || {
        let (_, text) = ask(&["status", "--json"]);
        let all: serde_json::Value = serde_json::from_str(&text).unwrap();
        let servers = all["servers"].as_array().unwrap();
        servers.iter().all(|server| {
            let component = &server["status"]["component"];
            let said = &component["said"];
            let accepted = said["barriers"]["processor"]["accepted"] == true;
            component["connected"] == true && accepted && said["clock"]["bound_ns"].is_u64()
        })
    });
    let (_, text) = ask(&["status"]);
    assert_eq!(text.matches("wormhole connected, life ").count(), 3, "{text}");
    assert_eq!(text.matches("(processor)").count(), 3, "no barrier is claimed here: {text}");
    assert_eq!(text.matches(", clock within ").count(), 3, "{text}");
    for _ in 0..5 {
        let (shown, line) = ask(&["wormhole", "show", "--server", "server-0"]);
        assert!(shown && line.starts_with("server-0 "), "{line}");
    }
    town.stamp(0);
    assert!(!log(&town, 0).contains("the trusted component is gone"), "{}", log(&town, 0));
    town.kill_component(2);
    wait_until("the third says that it has none", || {
        let (goes_on, text) = ask(&["status"]);
        let of_third = text.lines().nth(2).unwrap_or_default();
        goes_on && of_third.contains("WORMHOLE NOT CONNECTED, last life")
    });
    town.kill(0..3);
}

#[test]
fn a_server_that_was_not_told_the_founders_says_how_to_tell_it() {
    let town = Town::deal_as(maftia(), 3, Some(OrderedBy::Identifiers));
    let home = town.home(0);
    let start = || {
        let output = Command::new(maftia()).args(["server", "--home"]).arg(&home).output().unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let founders = home.join("founders");
    let lives = std::fs::read_to_string(&founders).unwrap();
    std::fs::remove_file(&founders).unwrap();
    assert!(start().contains("maftia wormhole found"));
    let without = lives.lines().filter(|line| !line.starts_with("server-1")).collect::<Vec<_>>();
    std::fs::write(&founders, without.join("\n")).unwrap();
    assert!(start().contains("server-1 has none"));
    // A life that another host's guard certified.
    let other = lives.replace("server-1 ", "server-9 ").replace("server-2 ", "server-1 ");
    std::fs::write(&founders, other.replace("server-9 ", "server-2 ")).unwrap();
    assert!(start().contains("has not certified this life"));
}

#[test]
fn a_server_that_lost_its_journal_comes_back_with_a_later_life_only() {
    let mut town = running();
    town.stamp(0);
    town.stop(1).unwrap();
    let home = town.home(1);
    std::fs::remove_dir_all(home.join(JOURNAL)).unwrap();
    let repair = || Command::new(maftia()).args(["repair", "--home"]).arg(&home).output().unwrap();
    let refused = repair();
    assert!(!refused.status.success());
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("restart maftia-ttcb"), "{said}");
    town.kill_component(1);
    town.start_component(1).unwrap();
    let repaired = repair();
    assert!(repaired.status.success(), "{}", String::from_utf8_lossy(&repaired.stderr));
    town.start(1).unwrap();
    town.stamp(1);
    assert!(epoch_of_member(&town, 1).is_some_and(|epoch| epoch > 0));
    town.stop_all().unwrap();
}
