//! All trusted components of a group are lost at once, and operators found it anew.

use crate::maftia;
use crate::support::{Load, Town, wait_until};
use maftia::home::{BEGUN, CERTIFICATE, JOURNAL};
use maftia::judge;
use maftia_agreement::hybrid::OrderedBy;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

fn running() -> Town {
    let mut town = Town::deal_as(maftia(), 3, Some(OrderedBy::Identifiers));
    town.start_all().unwrap();
    town
}

/// The power fails, and comes back: servers and components are gone at once.
fn lose_everything(town: &mut Town) {
    town.kill(0..3);
    (0..3).for_each(|index| town.kill_component(index));
    (0..3).for_each(|index| town.start_component(index).unwrap());
}

fn standing(town: &Town, index: usize) -> Option<String> {
    Some(town.server(index)?.status().ok()?["standing"].as_str()?.to_owned())
}

/// Starts all servers, and waits until they hold the same.
fn let_them_tell_each_other(town: &mut Town) {
    town.start_all().unwrap();
    wait_until("all wait, and hold the same", || {
        let statuses: Vec<_> = (0..3).map(|index| town.status(index)).collect();
        let of = |what: &str| statuses.iter().map(|it| it[what].clone()).collect::<Vec<_>>();
        let (standings, progress) = (of("standing"), of("progress"));
        standings.iter().all(|standing| standing == "waiting")
            && progress.iter().all(|it| it["position"] == progress[0]["position"])
            && (0..3).all(|index| {
                let peers = town.status(index)["peers"].as_array().unwrap().clone();
                peers.iter().all(|peer| peer[1] == true)
            })
    });
    // What was under way when the last one came is told, too.
    std::thread::sleep(Duration::from_secs(2));
    town.stop_all().unwrap();
}

fn wormhole(arguments: &[&str]) -> Output {
    Command::new(maftia()).arg("wormhole").args(arguments).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The line that a server testifies, once its component answers.
fn testimony(town: &Town, index: usize) -> String {
    let home = town.home(index);
    let mut line = String::new();
    wait_until("it testifies", || {
        let output = wormhole(&["testify", "--home", &home.to_string_lossy()]);
        line = String::from_utf8(output.stdout.clone()).unwrap();
        output.status.success()
    });
    line
}

fn testimonies(town: &Town, which: &[usize]) -> String {
    which.iter().map(|index| testimony(town, *index)).collect()
}

/// Has a server begin anew with these lines; what was said if it does not.
fn refound(town: &Town, index: usize, lines: &str, without: &[&str]) -> Result<(), String> {
    let path = town.dir().join(format!("testimonies-{index}"));
    fs::write(&path, lines).unwrap();
    let (home, path) = (town.home(index), path.to_string_lossy().into_owned());
    let home = home.to_string_lossy().into_owned();
    let mut arguments = vec!["refound", "--home", &home, &path];
    without.iter().for_each(|name| arguments.extend(["--without", *name]));
    let output = wormhole(&arguments);
    if output.status.success() { Ok(()) } else { Err(said(&output)) }
}

fn must_refuse(town: &Town, index: usize, lines: &str, without: &[&str], because: &str) {
    let founders = fs::read(town.home(index).join("founders")).unwrap();
    let why = refound(town, index, lines, without).expect_err(because);
    assert!(why.contains(because), "{because:?} is what it should say: {why}");
    assert_eq!(fs::read(town.home(index).join("founders")).unwrap(), founders);
}

/// A token, and that it is one.
struct Token {
    data: PathBuf,
    query: PathBuf,
    reply: PathBuf,
}

impl Token {
    fn get(town: &mut Town, index: usize) -> Self {
        let question = town.question();
        let (data, query) = (question.data.clone(), question.query.clone());
        let reply = query.with_extension("tsr");
        let http = town.config().servers[index].http;
        wait_until("a token is given", || {
            let answer =
                maftia::process::post_query(http, &question.bytes, Duration::from_secs(10));
            answer.is_ok_and(|answer| fs::write(&reply, answer).is_ok())
                && judge::describe(&reply).is_ok()
        });
        Self { data, query, reply }
    }

    /// Its serial number, in hexadecimal digits, if OpenSSL accepts it.
    fn serial(&self, home: &Path) -> String {
        judge::verify(&self.reply, &self.query, &self.data, &home.join(CERTIFICATE)).unwrap();
        let serial = judge::describe(&self.reply).unwrap().serial;
        format!("{:0>40}", serial.trim_start_matches("0x"))
    }
}

#[test]
fn a_group_that_lost_all_components_at_once_is_founded_anew_and_has_lost_nothing() {
    let mut town = running();
    let home = town.home(0);
    let mut tokens = vec![Token::get(&mut town, 0)];
    const UNDER_WAY: usize = 3 * 4;
    let load = Load::start(&town, 3, 4);
    load.wait_for(100);
    for generation in 1..=2 {
        lose_everything(&mut town);
        let answered = load.answered();
        let_them_tell_each_other(&mut town);
        // Answers to what had been ordered before may still come: as many as were under way.
        assert!(load.answered() <= answered + UNDER_WAY, "nobody can order anything");
        let lines = testimonies(&town, &[0, 1, 2]);
        for index in 0..3 {
            refound(&town, index, &lines, &[]).unwrap();
            // Whoever does not know how far it got does it again.
            refound(&town, index, &lines, &[]).unwrap();
        }
        town.start_all().unwrap();
        load.wait_for(100);
        tokens.push(Token::get(&mut town, generation));
    }
    load.settle();
    let serials: Vec<String> = tokens.iter().map(|token| token.serial(&home)).collect();
    assert!(serials.is_sorted() && serials[0] < serials[2], "numbers go on: {serials:?}");
    for index in 0..3 {
        assert_eq!(standing(&town, index).as_deref(), Some("member"));
    }
    town.stop_all().unwrap();
}

#[test]
fn too_few_doubled_forged_and_foreign_testimonies_are_refused_by_name() {
    let mut town = running();
    town.stamp(0);
    wait_until("all have what one has", || {
        let progress: Vec<_> = (0..3).map(|index| town.status(index)["progress"].clone()).collect();
        let position = progress[0]["position"].as_u64().unwrap();
        position > 0 && progress.iter().all(|it| it["position"] == position)
    });
    town.stop_all().unwrap();
    // One component alone is for the group itself to admit.
    town.kill_component(2);
    town.start_component(2).unwrap();
    let lines = testimonies(&town, &[0, 1, 2]);
    must_refuse(&town, 0, &lines, &[], "the group admits the others by itself");
    lose_everything(&mut town);
    let_them_tell_each_other(&mut town);
    let each: Vec<String> = (0..3).map(|index| testimony(&town, index)).collect();
    let all = each.concat();
    let two = each[..2].concat();
    must_refuse(&town, 0, &two, &[], "{server-2} did not testify. Right would be");
    must_refuse(&town, 0, &each[0], &[], "too few are left");
    must_refuse(&town, 0, &each[0], &["server-1", "server-2"], "too few are left");
    must_refuse(&town, 0, &all, &["server-2"], "{server-2} testify");
    must_refuse(&town, 0, &all, &["server-7"], "no server is called");
    // One digit of what is said, or of the signature.
    for place in [40, all.lines().next().unwrap().len() - 3] {
        let mut forged = all.clone().into_bytes();
        forged[place] = if forged[place] == b'0' { b'1' } else { b'0' };
        let forged = String::from_utf8(forged).unwrap();
        let why = refound(&town, 1, &forged, &[]).expect_err("it is forged");
        assert!(why.contains("did not sign") || why.contains("no testimony"), "{why}");
    }
    let renamed = each[0].replace("server-0", "server-1") + &each[0] + &each[2];
    must_refuse(&town, 0, &renamed, &[], "server-1 did not sign");
    // Its component has begun yet another life since.
    town.kill_component(2);
    town.start_component(2).unwrap();
    let doubled = all.clone() + &testimony(&town, 2);
    must_refuse(&town, 0, &doubled, &[], "server-2 gives two testimonies");
    // What cannot be written leaves the founding as it was, and is done again.
    let lines = testimonies(&town, &[0, 1, 2]);
    let in_the_way = town.home(0).join("founders.new");
    fs::create_dir(&in_the_way).unwrap();
    must_refuse(&town, 0, &lines, &[], "cannot be replaced");
    assert_eq!(testimony(&town, 0), lines.lines().next().unwrap().to_owned() + "\n");
    fs::remove_dir(&in_the_way).unwrap();
    (0..3).for_each(|index| refound(&town, index, &lines, &[]).unwrap());
    must_refuse(&town, 0, &(all + "\n"), &[], "under the present founding");
    town.start_all().unwrap();
    town.stamp(2);
    town.stop_all().unwrap();
}

#[test]
fn an_older_journal_wins_nothing_and_its_server_comes_back_when_it_is_left_out() {
    let mut town = running();
    town.stamp(0);
    town.stop(2).unwrap();
    let (home, old) = (town.home(2), town.dir().join("old"));
    copy(&home.join(JOURNAL), &old.join(JOURNAL));
    fs::copy(home.join(BEGUN), old.join(BEGUN)).unwrap();
    town.start(2).unwrap();
    let load = Load::start(&town, 2, 4);
    load.wait_for(100);
    lose_everything(&mut town);
    // An intruder brings both files of an earlier time to this host.
    fs::remove_dir_all(home.join(JOURNAL)).unwrap();
    copy(&old.join(JOURNAL), &home.join(JOURNAL));
    fs::copy(old.join(BEGUN), home.join(BEGUN)).unwrap();
    let lines = testimonies(&town, &[0, 1, 2]);
    must_refuse(&town, 0, &lines, &[], "server-2");
    let behind = testimonies(&town, &[1, 2]);
    must_refuse(&town, 1, &behind, &["server-0"], "hold less than others");
    // Nor is whoever holds more talked into it by two that hold less.
    let_first_two_tell_each_other(&mut town);
    let lines = testimonies(&town, &[0, 1]);
    must_refuse(&town, 2, &testimonies(&town, &[0, 2]), &["server-1"], "hold less");
    for index in [0, 1] {
        refound(&town, index, &lines, &["server-2"]).unwrap();
    }
    // Its server is still of the old founding: the others do not even hear it.
    (0..3).for_each(|index| town.start(index).unwrap());
    load.wait_for(50);
    assert_eq!(standing(&town, 2).as_deref(), Some("waiting"));
    let peers = town.status(2)["peers"].as_array().unwrap().clone();
    assert!(peers.iter().all(|peer| peer[1] == false), "{peers:?}");
    town.stop(2).unwrap();
    refound(&town, 2, &lines, &["server-2"]).unwrap();
    town.kill_component(2);
    town.start_component(2).unwrap();
    town.start(2).unwrap();
    wait_until("it is admitted", || standing(&town, 2).as_deref() == Some("member"));
    town.kill([0]);
    load.wait_for(50);
    town.start(0).unwrap();
    load.settle();
    town.stop_all().unwrap();
}

/// Servers 0 and 1 are started until they hold the same.
fn let_first_two_tell_each_other(town: &mut Town) {
    town.start(0).unwrap();
    town.start(1).unwrap();
    wait_until("they hold the same", || {
        let position = |index: usize| town.status(index)["progress"]["position"].clone();
        let heard = |index: usize| town.status(index)["peers"][0][1] == true;
        heard(0) && heard(1) && position(0) == position(1)
    });
    std::thread::sleep(Duration::from_secs(2));
    town.stop(0).unwrap();
    town.stop(1).unwrap();
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).unwrap()),
        }
    }
}
