//! Those who keep an authority: operators who change its policy, officers who approve, custodians
//! of the root who sign.

use crate::city::{City, said, succeed};
use crate::support::wait_until;
use crate::tools;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn maftia(arguments: &[&str]) -> Command {
    let mut command = Command::new(tools::honest());
    command.args(arguments);
    command
}

/// By which policy the group goes, and how many servers want another one.
fn policy(city: &City) -> (String, usize) {
    let view: serde_json::Value = serde_json::from_str(&city.ca(&["policy", "--json"])).unwrap();
    let wanted = view["wanted"].as_array().unwrap().len();
    (view["digest"].as_str().unwrap().to_owned(), wanted)
}

#[test]
fn a_policy_is_changed_by_servers_that_are_restarted_one_after_the_other() {
    let mut city = City::found(4, None, "");
    city.start_all().unwrap();
    succeed(&mut city.certbot_http(&["before.test"]));
    let (first, _) = policy(&city);
    for server in [3, 2, 1] {
        let (now, wanted) = policy(&city);
        assert_eq!((&now, wanted), (&first, 3 - server), "not yet");
        let path = city.home(server).join("ca.toml");
        let rules = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, rules.replace("hours = 720", "hours = 48")).unwrap();
        city.stop(server).unwrap();
        city.start(server).unwrap();
        wait_until("its wish is known, or the policy", || policy(&city) != (now.clone(), wanted));
    }
    let (now, _) = policy(&city);
    assert_ne!(now, first);
    // The one that was not told goes by it, too; and asks for what it has been told, alone.
    wait_until("the last one asks for the old policy", || policy(&city) == (now.clone(), 1));
    city.lead_to(0);
    succeed(&mut city.certbot_http(&["after.test"]));
    let ends = |name: &str, seconds: &str| {
        let mut command = Command::new("openssl");
        command.args(["x509", "-noout", "-checkend", seconds, "-in"]);
        !command.arg(city.live(name, "cert.pem")).output().unwrap().status.success()
    };
    assert!(ends("after.test", "200000") && !ends("before.test", "200000"), "48 hours");
    assert_eq!(city.logged("policy-changed").len(), 1);
}

#[test]
fn names_that_need_officers_wait_for_as_many_as_the_policy_asks_for() {
    let folder = tempfile::tempdir().unwrap();
    let key = |number: usize| folder.path().join(format!("officer-{number}"));
    let public = |number: usize| {
        let path = key(number);
        succeed(maftia(&["ca", "officer-key", "--out"]).arg(path)).trim().to_owned()
    };
    let keys = [0, 1, 2].map(public);
    let rules = format!("\n[officers]\nneeded = 2\nkeys = {keys:?}\nnames = [\"bank.test\"]\n");
    let mut city = City::found(4, None, &rules);
    city.start_all().unwrap();
    let mut certbot = city.certbot_http(&["bank.test"]);
    let certbot = certbot.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut order = None;
    wait_until("the order waits for officers", || {
        let pending = city.ca(&["pending", "--json"]);
        let first = pending.lines().next();
        let first = first.map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        order = first.and_then(|first| first["order"].as_u64());
        order.is_some() && !city.logged("validated").is_empty()
    });
    let order = order.unwrap().to_string();
    let say = |what: &str, officer: &Path| {
        let mut command = maftia(&["ca", what, &order, "--home"]);
        command.arg(city.home(0)).arg("--key").arg(officer).output().unwrap()
    };
    assert!(said(&say("approve", &key(0))).contains("1 of 2"));
    assert!(said(&say("approve", &key(0))).contains("has had a say"));
    let stranger = folder.path().join("stranger");
    succeed(maftia(&["ca", "officer-key", "--out"]).arg(&stranger));
    let refused = say("approve", &stranger);
    assert!(!refused.status.success() && said(&refused).contains("none of the officers"));
    assert!(city.logged("issued").is_empty(), "one approval is too few");
    assert!(said(&say("approve", &key(2))).contains("2 of 2"));
    let output = certbot.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    city.verify(&city.live("bank.test", "cert.pem"), 1).unwrap();
}

#[test]
fn custodians_sign_another_issuing_certificate_by_files_and_the_group_takes_it() {
    let mut city = City::found(4, None, "");
    city.start_all().unwrap();
    let custodian = |index: usize| city.dir().join(format!("custodian-{index}"));
    let proposal = city.path("proposal");
    let mut propose = maftia(&["ca", "propose-intermediate", "--years", "3", "--home"]);
    let shown = succeed(propose.arg(city.home(0)).arg("--out").arg(&proposal));
    assert!(shown.contains("tested issuing CA"), "{shown}");
    let share = |index: usize| -> PathBuf {
        let path = city.path(&format!("share-{index}"));
        let mut sign = maftia(&["ca", "sign-intermediate", "--home"]);
        sign.arg(custodian(index)).arg("--proposal").arg(&proposal).arg("--out").arg(&path);
        assert!(succeed(&mut sign).contains("Name Constraints"), "he is shown what he signs");
        path
    };
    let finish = |shares: &[&Path]| {
        let mut finish = maftia(&["ca", "finish-intermediate", "--home"]);
        finish.arg(custodian(0)).arg("--proposal").arg(&proposal).args(shares);
        finish.output().unwrap()
    };
    let (zero, two) = (share(0), share(2));
    let alone = finish(&[&zero]);
    assert!(!alone.status.success() && said(&alone).contains("too few"), "{}", said(&alone));
    let wrong = city.path("wrong");
    let mut bytes = std::fs::read(&two).unwrap();
    // Behind the custodian's number and two lengths, there is the share itself.
    bytes[20] ^= 1;
    std::fs::write(&wrong, bytes).unwrap();
    let refused = finish(&[&zero, &wrong]);
    assert!(!refused.status.success() && said(&refused).contains("custodians 2"));
    let finished = finish(&[&zero, &two]);
    assert!(finished.status.success(), "{}", said(&finished));
    for server in [0, 1, 2, 3] {
        std::fs::write(city.home(server).join("issuing.pem"), &finished.stdout).unwrap();
        city.stop(server).unwrap();
        city.start(server).unwrap();
    }
    wait_until("the policy has it", || city.logged("policy-changed").len() == 1);
    succeed(&mut city.certbot_http(&["new.test"]));
    let chain = std::fs::read(city.live("new.test", "chain.pem")).unwrap();
    assert!(chain.starts_with(&finished.stdout[..]), "it is what clients are given");
    city.verify(&city.live("new.test", "cert.pem"), 2).unwrap();
}
