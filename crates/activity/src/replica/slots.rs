//! Where the parts of a replica sit in it.

use super::{Message, Record, Replica, Ticket};
use crate::{
    Accusation, ConvictionTicket, Convictions, SigningMessage, SigningTicket, StateMachine,
    ThresholdSigning, Transfer, TransferMessage, Values, ValuesMessage, ValuesRecord, ValuesTicket,
};
use maftia_agreement::atomic::{EpochChain, epochs};
use maftia_agreement::checkpoint::{self, Checkpoints};
use maftia_base::Slot;
use maftia_base::protocol::Never;
use maftia_crypto::Suite;

#[derive(Clone, Copy)]
pub(super) struct OrderSlot;

#[derive(Clone, Copy)]
pub(super) struct SigningSlot;

#[derive(Clone, Copy)]
pub(super) struct ConvictionSlot;

#[derive(Clone, Copy)]
pub(super) struct CheckpointSlot;

#[derive(Clone, Copy)]
pub(super) struct TransferSlot;

#[derive(Clone, Copy)]
pub(super) struct ValuesSlot;

impl<S: Suite, M: StateMachine> Slot<Replica<S, M>> for ValuesSlot {
    type Child = Values<S>;
    fn label(self) -> u64 {
        0
    }
    fn message(self, message: ValuesMessage) -> Message<S> {
        Message::Value(message)
    }
    fn ticket(self, ticket: ValuesTicket) -> Ticket<S> {
        Ticket::Value(ticket)
    }
    fn record(self, record: ValuesRecord) -> Record<S> {
        Record::Value(record)
    }
}

impl<S: Suite, M: StateMachine> Slot<Replica<S, M>> for OrderSlot {
    type Child = EpochChain<S>;
    fn label(self) -> u64 {
        0
    }
    fn message(self, message: epochs::Message<S>) -> Message<S> {
        Message::Order(message)
    }
    fn ticket(self, ticket: epochs::Ticket<S>) -> Ticket<S> {
        Ticket::Order(ticket)
    }
    fn record(self, record: epochs::Record<S>) -> Record<S> {
        Record::Order(record)
    }
}

impl<S: Suite, M: StateMachine> Slot<Replica<S, M>> for SigningSlot {
    type Child = ThresholdSigning<S>;
    fn label(self) -> u64 {
        0
    }
    fn message(self, message: SigningMessage<S>) -> Message<S> {
        Message::Signing(message)
    }
    fn ticket(self, ticket: SigningTicket) -> Ticket<S> {
        Ticket::Signing(ticket)
    }
    fn record(self, record: Never) -> Record<S> {
        match record {}
    }
}

impl<S: Suite, M: StateMachine> Slot<Replica<S, M>> for ConvictionSlot {
    type Child = Convictions<S>;
    fn label(self) -> u64 {
        0
    }
    fn message(self, message: Accusation) -> Message<S> {
        Message::Accusation(message)
    }
    fn ticket(self, ticket: ConvictionTicket) -> Ticket<S> {
        Ticket::Conviction(ticket)
    }
    fn record(self, record: Accusation) -> Record<S> {
        Record::Convicted(record)
    }
}

impl<S: Suite, M: StateMachine> Slot<Replica<S, M>> for CheckpointSlot {
    type Child = Checkpoints<S>;
    fn label(self) -> u64 {
        0
    }
    fn message(self, message: checkpoint::Message<S>) -> Message<S> {
        Message::Checkpoint(message)
    }
    fn ticket(self, ticket: checkpoint::Ticket) -> Ticket<S> {
        Ticket::Checkpoint(ticket)
    }
    fn record(self, record: checkpoint::Record<S>) -> Record<S> {
        Record::Checkpoint(record)
    }
}

impl<S: Suite, M: StateMachine> Slot<Replica<S, M>> for TransferSlot {
    type Child = Transfer<S>;
    fn label(self) -> u64 {
        0
    }
    fn message(self, message: TransferMessage<S>) -> Message<S> {
        Message::Transfer(message)
    }
    fn ticket(self, ticket: Never) -> Ticket<S> {
        match ticket {}
    }
    fn record(self, record: Never) -> Record<S> {
        match record {}
    }
}
