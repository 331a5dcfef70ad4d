use super::*;
use maftia_agreement::hybrid::OrderedBy;
use maftia_base::PartySet;

fn new(servers: usize) -> String {
    render(&NewGroup {
        name: "example".into(),
        servers,
        host: [127, 0, 0, 1].into(),
        base_port: 7100,
        key_bits: 2048,
        components: Vec::new(),
        ordered_by: OrderedBy::default(),
        authority: None,
    })
}

/// A configuration with trusted components.
fn hybrid(servers: usize) -> String {
    let component = |index: usize| {
        component_at(format!("/run/{index}.sock").into(), [index as u8 + 1; 32], None)
    };
    render(&NewGroup {
        name: "example".into(),
        servers,
        host: [127, 0, 0, 1].into(),
        base_port: 7100,
        key_bits: 2048,
        components: (0..servers).map(component).collect(),
        ordered_by: OrderedBy::default(),
        authority: None,
    })
}

#[test]
fn with_trusted_components_three_servers_survive_one_and_other_keys_belong_to_them() {
    let config = read(&hybrid(3)).unwrap();
    assert!(config.is_hybrid);
    assert_eq!(config.structure.largest(), 1);
    let third = config.servers[2].component.as_ref().unwrap();
    assert_eq!((third.guard, third.socket.as_path()), ([3; 32], Path::new("/run/2.sock")));
    assert_eq!(third.status, Path::new("/run/status.sock"), "beside it");
    let elsewhere = hybrid(3).replace("\"/run/status.sock\"", "\"/var/s.sock\"");
    let elsewhere = read(&elsewhere).unwrap();
    let statuses = elsewhere.servers.iter().map(|it| &it.component.as_ref().unwrap().status);
    assert!(statuses.into_iter().all(|status| status == Path::new("/var/s.sock")));
    assert_eq!(elsewhere.context(), config.context(), "keys do not depend on it");
    let without = hybrid(3).replace("\"hybrid\"\n", "\"asynchronous\"\n");
    assert_ne!(without, hybrid(3));
    assert!(read(&without).is_err(), "three do not survive one, and components do not belong");
    assert_eq!(read(&hybrid(5)).unwrap().structure.largest(), 2);
}

#[test]
fn the_ordering_is_chosen_by_one_line_and_keys_dealt_for_one_are_not_for_the_other() {
    const LINE: &str = "ordering = \"identifiers\"\n";
    let by_identifiers = read(&hybrid(3)).unwrap();
    let unsaid = read(&hybrid(3).replace(LINE, "")).unwrap();
    let by_service = read(&hybrid(3).replace("\"identifiers\"\n", "\"service\"\n")).unwrap();
    assert_eq!(unsaid.ordered_by, OrderedBy::Identifiers);
    assert_eq!(by_service.ordered_by, OrderedBy::Service);
    assert_eq!(unsaid.context(), by_identifiers.context());
    assert_ne!(by_service.context(), by_identifiers.context());
    let refused = |text: &str| read(text).unwrap_err();
    assert_eq!(refused(&hybrid(3).replace(LINE, "ordering = \"dice\"\n")).key, "ordering");
    let needless = new(4).replacen("[faults]", &format!("{LINE}[faults]"), 1);
    assert_eq!(refused(&needless).key, "ordering");
}

#[test]
fn too_few_servers_and_missing_or_needless_guards_are_refused_by_name() {
    let refused = |text: &str| read(text).unwrap_err();
    let two = refused(&hybrid(3).replace("threshold = 1", "threshold = 2"));
    assert!(two.remedy.contains("5 servers"), "{two}");
    let no_guard = hybrid(3).replace(&format!("guard = \"{}\"\n", "02".repeat(32)), "");
    assert_eq!(refused(&no_guard).key, "server.guard");
    let short = hybrid(3).replace(&"02".repeat(32), "02");
    assert_eq!(refused(&short).key, "server.guard");
    let guard = format!("\nguard = \"{}\"\n[notary]", "02".repeat(32));
    let needless = new(4).replacen("\n[notary]", &guard, 1);
    assert_eq!(refused(&needless).key, "server.guard");
}

fn read(text: &str) -> Result<GroupConfig, ConfigError> {
    parse(Path::new("group.toml"), text)
}

fn refused(text: &str) -> ConfigError {
    read(text).expect_err("this configuration must be refused")
}

#[test]
fn what_init_writes_is_accepted_for_every_group_size() {
    for n in [1, 4, 7, 10, 16] {
        let config = read(&new(n)).expect("accepted");
        assert_eq!(config.servers.len(), n);
        assert_eq!(config.structure.largest(), (n - 1) / 3);
        assert!(config.sharing.is_qualified(PartySet::all(n)));
    }
}

#[test]
fn too_many_faults_are_refused_with_line_key_sets_and_remedy() {
    let error = refused(&new(4).replace("threshold = 1", "threshold = 2"));
    let line = new(4).lines().position(|line| line == "threshold = 1").expect("there") + 1;
    assert_eq!((error.line, error.key.as_str()), (line, "faults.threshold"));
    assert!(error.problem.contains("{server-0, server-1}"), "{error}");
    assert!(error.remedy.contains("threshold = 1") && error.remedy.contains("7 servers"));
}

#[test]
fn a_misspelt_key_is_refused_where_it_stands() {
    let text = new(4).replace("accuracy_ms", "acuracy_ms");
    let error = refused(&text);
    let line = text.lines().position(|line| line.starts_with("acuracy_ms")).expect("there") + 1;
    assert_eq!((error.line, error.key.as_str()), (line, "notary.acuracy_ms"));
    assert!(error.problem.contains("accuracy_ms"), "names what would be right: {error}");
}

#[test]
fn addresses_must_be_reachable_and_distinct() {
    let error = refused(&new(4).replace("127.0.0.1:7103", "127.0.0.1:7100"));
    assert!(error.problem.contains("already taken by server-0"), "{error}");
    let error = refused(&new(4).replace("127.0.0.1:7103", "0.0.0.0:7103"));
    assert_eq!(error.key, "server.peers");
}

#[test]
fn two_servers_of_one_name_are_refused() {
    assert_eq!(refused(&new(4).replace("server-1", "server-0")).key, "server.name");
}

#[test]
fn no_group_is_hybrid_without_the_guards_of_trusted_components() {
    assert_eq!(refused(&new(4).replace("\"asynchronous\"", "\"hybrid\"")).key, "server.guard");
}

/// 16 servers, one for each pair of site and operating system.
fn sixteen(extra: &str) -> String {
    let mut text = new(16).replace("threshold = 5", "alternatives = [{ site = 1, os = 1 }]");
    for index in 0..16 {
        let attributes =
            format!("attributes = {{ site = \"s{}\", os = \"o{}\" }}", index / 4, index % 4);
        text =
            text.replacen("# attributes = { site = \"zurich\", os = \"debian\" }", &attributes, 1);
    }
    text.replace("[faults]", &format!("{extra}\n[faults]"))
}

#[test]
fn sixteen_servers_by_site_and_system_are_accepted_with_the_exact_and_with_a_smaller_sharing() {
    let exact = read(&sixteen("")).expect("accepted");
    assert_eq!((exact.structure.largest(), exact.sharing.leaves().len()), (7, 144));
    let rule =
        |attribute| format!("[[sharing]]\nattribute = \"{attribute}\"\nclasses = 2\nmembers = 2\n");
    let small = read(&sixteen(&(rule("site") + &rule("os")))).expect("accepted");
    assert_eq!(small.sharing.leaves().len(), 32);
}

#[test]
fn a_sharing_rule_that_intruders_could_satisfy_is_refused() {
    let loose = "[[sharing]]\nattribute = \"site\"\nclasses = 1\nmembers = 2\n";
    let error = refused(&sixteen(loose));
    assert_eq!(error.key, "sharing");
    assert!(error.problem.contains("could combine every key"), "{error}");
}

#[test]
fn an_alternative_that_covers_the_group_three_times_is_refused_with_names() {
    let text = new(4).replace("threshold = 1", "alternatives = [{ server = 2 }]");
    let error = refused(&text);
    assert_eq!(error.key, "faults.alternatives");
    assert!(error.problem.contains("server-3"), "{error}");
}

#[test]
fn attributes_that_nobody_has_are_refused_with_those_that_exist() {
    let text = new(4).replace("threshold = 1", "alternatives = [{ planet = 1 }]");
    let error = refused(&text);
    assert!(error.problem.contains("planet") && error.remedy.contains("server"), "{error}");
}

#[test]
fn a_server_that_no_alternative_counts_is_refused_since_it_would_hold_every_key() {
    let misspelt = sixteen("").replacen("site = \"s2\"", "sit = \"s2\"", 1);
    let error = refused(&misspelt);
    assert_eq!(error.key, "server.attributes");
    assert!(error.problem.contains("server-8") && error.problem.contains("site"), "{error}");
    let lines: Vec<&str> = misspelt.lines().collect();
    assert_eq!(lines[error.line - 1], "[[server]]");
    for nobody in ["alternatives = []", "alternatives = [{}]"] {
        let error = refused(&new(4).replace("threshold = 1", nobody));
        assert_eq!(error.key, "faults.alternatives", "{error}");
    }
}

#[test]
fn numbers_beyond_any_bound_are_refused_like_others() {
    let error = refused(&new(4).replace("threshold = 1", "threshold = 9223372036854775807"));
    assert_eq!(error.key, "faults.threshold");
    let policies =
        ["2.25.329800735698586629295641978511506172918", "2.25.4294967296", "2.25.268435456", "1"];
    for policy in policies {
        let error = refused(&new(4).replace("2.25.83746182.1", policy));
        assert_eq!(error.key, "notary.policy", "{error}");
    }
    assert_eq!(refused(&new(4).replace("127.0.0.1:7103", "224.0.0.1:7103")).key, "server.peers");
}

#[test]
fn what_is_missing_or_of_a_wrong_type_is_named_with_its_table_and_an_example() {
    let without = |start: &str| {
        let kept = |line: &&str| !line.starts_with(start);
        new(4).lines().filter(kept).map(|line| format!("{line}\n")).collect::<String>()
    };
    for (start, key) in [("format", "format"), ("name = \"example\"", "name")] {
        let error = refused(&without(start));
        assert_eq!(error.key, key, "{error}");
    }
    let error = refused(&without("peers"));
    assert_eq!(error.key, "server.peers", "{error}");
    let error = refused(&new(4).replace("\"127.0.0.1:7103\"", "\"localhost:7103\""));
    assert_eq!(error.key, "server.peers", "{error}");
    assert!(error.remedy.contains("192.0.2.7:7100"), "{error}");
}
