//! State machines: every protocol of the drill, a replica, a client.

use maftia_fuzz::{machines, replica, targets};

targets! {
    scripted_courses(3_000) => machines::scripted;
    replica_among_liars(1_200) => replica::among_liars;
    client_among_liars(8_000) => replica::client_among_liars;
}
