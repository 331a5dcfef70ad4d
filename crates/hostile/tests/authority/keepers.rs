//! Those who keep an authority: operators who change its policy, officers who approve, custodians
//! of the root who sign.

use crate::city::{City, said, succeed};
use crate::support::wait_until;
use crate::tools;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

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
fn an_account_that_a_customer_vouches_for_gets_the_customers_names_and_no_others() {
    let secret = || succeed(&mut maftia(&["ca", "account-key"])).trim().to_owned();
    let (right, wrong) = (secret(), secret());
    let mut city = City::found(
        4,
        None,
        &format!(
            "\n[[external_account]]\nid = \"customer-1\"\nkey = \"{right}\"\n\
             names = [\"customer.test\"]\n"
        ),
    );
    city.start_all().unwrap();
    let certbot = |name: &str, secret: &str| {
        let mut certbot = city.certbot_http(&[name]);
        certbot.args(["--eab-kid", "customer-1", "--eab-hmac-key", secret]);
        certbot.output().unwrap()
    };
    let forged = certbot("a.customer.test", &wrong);
    assert!(!forged.status.success(), "{}", said(&forged));
    assert!(city.logged("account-created").is_empty());
    let bound = certbot("a.customer.test", &right);
    assert!(bound.status.success(), "{}", said(&bound));
    city.verify(&city.live("a.customer.test", "cert.pem"), 1).unwrap();
    assert!(!certbot("www.test", &right).status.success(), "it is not the customer's");
    let accounts = city.logged("account-created");
    assert_eq!((accounts.len(), city.logged("issued").len()), (1, 1));
    assert_eq!(accounts[0]["about"]["binding"], "customer-1");
}

/// The folder of a custodian of the root's key.
fn custodian(city: &City, index: usize) -> PathBuf {
    city.dir().join(format!("custodian-{index}"))
}

/// A custodian's share of a signature on a proposal, and what he is shown.
fn share(city: &City, how: &str, index: usize, proposal: &Path) -> (PathBuf, String) {
    let path = city.path(&format!("{how}-{index}"));
    let mut sign = maftia(&["ca", how, "--home"]);
    sign.arg(custodian(city, index)).arg("--proposal").arg(proposal).arg("--out").arg(&path);
    (path, succeed(&mut sign))
}

/// What becomes of shares.
fn finish(city: &City, how: &str, proposal: &Path, shares: &[&Path]) -> Output {
    let mut finish = maftia(&["ca", how, "--home"]);
    finish.arg(custodian(city, 0)).arg("--proposal").arg(proposal).args(shares);
    finish.output().unwrap()
}

#[test]
fn what_the_root_has_revoked_is_on_a_list_that_its_custodians_have_signed() {
    let mut city = City::found(4, None, "");
    city.start_all().unwrap();
    succeed(&mut city.certbot_http(&["below.test"]));
    let certificate = city.live("below.test", "cert.pem");
    city.verify_all(&certificate, 1).unwrap();
    let proposal = city.path("proposal");
    let propose = |out: &Path| {
        let mut propose = maftia(&["ca", "propose-root-list", "--days", "90", "--home"]);
        propose.arg(city.home(1)).arg("--out").arg(out);
        propose
    };
    let refused = propose(&proposal).arg("--revoke").arg(&certificate).output().unwrap();
    assert!(!refused.status.success() && said(&refused).contains("the root has signed"));
    let shown = succeed(propose(&proposal).arg("--revoke").arg(city.public("issuing.pem")));
    assert!(shown.contains("Revoked: "), "{shown}");
    // Who means to sign a certificate signs no list.
    let mut other = maftia(&["ca", "sign-intermediate", "--home"]);
    other.arg(custodian(&city, 0)).arg("--proposal").arg(&proposal);
    let other = other.arg("--out").arg(city.path("other")).output().unwrap();
    assert!(!other.status.success() && said(&other).contains("is not to be a certificate"));
    let shares = [0, 1].map(|index| share(&city, "sign-root-list", index, &proposal));
    assert!(shares.iter().all(|(_, seen)| *seen == shown), "they are shown what they sign");
    let [(zero, _), (one, _)] = &shares;
    let finished = finish(&city, "finish-root-list", &proposal, &[zero, one]);
    assert!(finished.status.success(), "{}", said(&finished));
    std::fs::write(city.home(1).join("root.crl"), &finished.stdout).unwrap();
    wait_until("the list is shown", || city.verify_all(&certificate, 1).is_err());
    assert!(city.verify_all(&certificate, 1).unwrap_err().contains("certificate revoked"));
    city.verify_all(&certificate, 2).unwrap();
    // The next list has what this one has.
    let next = succeed(&mut propose(&city.path("next")));
    let revoked =
        |text: &str| text.lines().find(|line| line.contains("Revoked: ")).map(str::to_owned);
    assert_eq!(revoked(&next), revoked(&shown));
}

#[test]
fn custodians_sign_another_issuing_certificate_by_files_and_the_group_takes_it() {
    let mut city = City::found(4, None, "");
    city.start_all().unwrap();
    let proposal = city.path("proposal");
    let mut propose = maftia(&["ca", "propose-intermediate", "--years", "3", "--home"]);
    let shown = succeed(propose.arg(city.home(0)).arg("--out").arg(&proposal));
    assert!(shown.contains("tested issuing CA"), "{shown}");
    let share = |index: usize| {
        let (path, shown) = share(&city, "sign-intermediate", index, &proposal);
        assert!(shown.contains("Name Constraints"), "he is shown what he signs");
        path
    };
    let finish = |shares: &[&Path]| finish(&city, "finish-intermediate", &proposal, shares);
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
