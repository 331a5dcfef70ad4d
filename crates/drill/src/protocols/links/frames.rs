//! Frames of links, written and read byte by byte: what a corrupt server can put into them.

use maftia_base::wire::{Blob, Bytes, Encode, List, Wire, wire_struct};
use maftia_links::Packet;
use maftia_sim::Random;

/// A frame as it is on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Raw {
    pub(crate) place: u64,
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) lapses: u64,
    pub(crate) received: u64,
    pub(crate) gap: u32,
    pub(crate) window_messages: u32,
    pub(crate) window_bytes: u32,
    pub(crate) first: u64,
    pub(crate) messages: List<Blob<{ 1 << 20 }>, 1024>,
}

wire_struct!(Raw {
    place,
    from,
    to,
    lapses,
    received,
    gap,
    window_messages,
    window_bytes,
    first,
    messages,
});

/// The frame of a packet.
pub(crate) fn read<M: Wire>(packet: &Packet<M>) -> Option<Raw> {
    let Packet::Frame(frame) = packet else { return None };
    Raw::from_wire(frame.to_wire()).ok()
}

/// The packet of a frame; `None` if no link would take it off the wire.
pub(crate) fn write<M: Wire>(raw: &Raw) -> Option<Packet<M>> {
    let mut bytes = vec![0];
    bytes.extend_from_slice(&raw.encode());
    Packet::from_wire(bytes.into()).ok()
}

/// What the frame carries, decoded.
pub(crate) fn messages<M: Wire>(packet: &Packet<M>) -> Vec<M> {
    match packet {
        Packet::Local(message) => M::from_wire(message.to_wire()).into_iter().collect(),
        Packet::Frame(_) => {
            let raw = read(packet);
            let payloads = raw.into_iter().flat_map(|raw| raw.messages.into_vec());
            payloads.filter_map(|payload| M::from_wire(payload.into_bytes()).ok()).collect()
        }
    }
}

/// A frame that nobody has been told of: conversations and numbers are guessed.
pub(crate) fn guessed(place: u64, messages: Vec<Bytes>, random: &mut Random) -> Raw {
    let payloads = messages.into_iter().filter_map(Blob::new).collect();
    Raw {
        place,
        from: 1 + random.below(4),
        to: random.below(4),
        lapses: random.below(2),
        received: random.below(4),
        gap: 0,
        window_messages: 8192,
        window_bytes: 8 << 20,
        first: random.below(4),
        messages: List::new(payloads).expect("few"),
    }
}

/// What a liar says of conversations, credit and what has arrived.
pub(crate) fn lies(raw: &Raw, random: &mut Random) -> Vec<Raw> {
    let mut lie = raw.clone();
    match random.below(12) {
        0 => lie.from = lie.from.wrapping_add(1 + random.below(3)),
        1 => lie.from = u64::MAX / 2,
        2 => lie.to = lie.to.wrapping_add(1),
        3 => lie.to = u64::MAX / 2,
        4 => lie.lapses = lie.lapses.wrapping_add(1 + random.below(1_000)),
        5 => lie.received = lie.received.wrapping_add(1 + random.below(3)),
        6 => lie.received = lie.received.saturating_sub(1),
        7 => (lie.gap, lie.window_messages, lie.window_bytes) = (u32::MAX, 0, 0),
        8 => lie.first = lie.first.wrapping_add(random.below(3)),
        9 => lie.first = u64::MAX - 1,
        10 => lie.to = u64::MAX,
        _ => lie.place ^= 1,
    }
    if random.chance(300) { vec![raw.clone(), lie] } else { vec![lie] }
}
