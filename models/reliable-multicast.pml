/*
 * BRM-T, reliable multicast with the agreement of the trusted components (figure 9 of the source).
 * Names are those of the pseudo-code. README.md says what is left out, and which switch is for
 * what.
 *
 * The agreement is its specification: what all are told is the hash that the sender proposed, or
 * nothing; and it may never be told. Links between correct processes deliver in the end (the
 * source's Od + 1 copies; a process that no copy reaches has failed); hostile processes send what
 * they like to whom they like, at any time. Hashes have no collisions: a message is its own hash.
 */

#ifndef N
#define N 3
#endif
#ifndef F
#define F 1
#endif

#define SENDER 0
#define BIT(position) (1 << (position))
#define IS_CORRECT(p) (!(hostile & BIT(p)))

/* Messages of this agreement, told by elist and tstart: what a correct sender has to say, and
 * another. What belongs to other agreements (replays) does not come this far. */
#define NOTHING 0
#define GOOD 1
#define OTHER 2
/* The hash of something that nobody has. */
#define UNKNOWN 3

byte hostile;             /* who is, at most F */
byte decide;              /* what the agreement says, once it has ended */
bit ends;                 /* does it ever? */
bit ended;
bit forgotten;            /* the trusted components have used its place again */

byte sent;                /* messages that a correct process multicast */
bit decision_sent;        /* ... and with them the decision, signed */
byte slipped[N];          /* messages that hostile processes sent to this one */
byte here[N];             /* messages that have arrived */
bit proposed[N];
bit knows[N];             /* the decision */
byte delivered[N];

/* Lines 5, 12. */
inline deliver(me, message)
{
    /* integrity */
    assert(delivered[me] == NOTHING);
    assert(!IS_CORRECT(SENDER) || (message == GOOD && (sent & BIT(GOOD))));
    delivered[me] = message
}

inline multicast(me, message)
{
    sent = sent | BIT(message);
    decision_sent = decision_sent | knows[me]
}

/* Lines 7 to 9. It is asked until it has ended; its place may be used again before. */
#define ASK() \
    :: d_step { proposed[me] && !knows[me] && ended && !forgotten -> knows[me] = 1 }
#ifndef UNSIGNED
/* A decision is signed: whoever forwards the message forwards it too. */
#define LEARN() \
    :: d_step { proposed[me] && !knows[me] && decision_sent -> knows[me] = 1 }
#else
#define LEARN()
#endif

proctype sender(byte me)
{
    /* Lines 1 to 4. */
    atomic { proposed[me] = 1; multicast(me, GOOD) };
#ifdef EAGER_SENDER
    /* Line 5, as the source has it. */
    d_step { deliver(me, GOOD) };
#endif
end:
    do
    ASK()
    LEARN()
#ifndef EAGER_SENDER
    /* Only what has been agreed on: the agreement may end with nothing, or not at all. */
    :: d_step { knows[me] && decide == GOOD && delivered[me] == NOTHING -> \
        multicast(me, GOOD); deliver(me, GOOD) }
#endif
    od
}

/* Lines 10 to 12: the message whose hash was agreed on is forwarded and delivered. */
#ifdef NO_COMPARISON
#define MATCHES(message) true
#else
#define MATCHES(message) (decide == (message))
#endif

inline settle(me, message)
{
#ifndef NO_FORWARDING
    multicast(me, message);
#endif
    deliver(me, message)
}

/* Line 6: a copy arrives. */
#define READ(message) \
    :: d_step { !(here[me] & BIT(message)) && ((sent | slipped[me]) & BIT(message)) -> \
        here[me] = here[me] | BIT(message); proposed[me] = 1 } \
    :: d_step { (here[me] & BIT(message)) && knows[me] && MATCHES(message) \
        && delivered[me] == NOTHING -> settle(me, message) }

proctype recipient(byte me)
{
end:
    do
    READ(GOOD)
    READ(OTHER)
    ASK()
    LEARN()
    od
}

#define SLIP(message, to) \
    :: d_step { !(slipped[to] & BIT(message)) -> slipped[to] = slipped[to] | BIT(message) }

/* All hostile processes together. They may stop at any time. */
proctype adversary()
{
    do
    SLIP(GOOD, 0)
    SLIP(OTHER, 0)
    SLIP(GOOD, 1)
    SLIP(OTHER, 1)
    SLIP(GOOD, 2)
    SLIP(OTHER, 2)
#if N > 3
    SLIP(GOOD, 3)
    SLIP(OTHER, 3)
#endif
    :: break
    od
}

proctype agreement()
{
end:
    do
    :: d_step { ends && !ended -> ended = 1 }
#ifdef FORGETS
    :: d_step { ended && !forgotten -> forgotten = 1 }
#endif
    od
}

#define COUNT(set) (((set) & 1) + (((set) >> 1) & 1) + (((set) >> 2) & 1) + (((set) >> 3) & 1))

init
{
    byte p;
    atomic {
        do
        :: p < N && COUNT(hostile) < F -> hostile = hostile | BIT(p); p++
        :: p < N -> p++
        :: p >= N -> break
        od;
        /* A hostile sender proposes anything, and in time or not. */
        if
        :: true -> decide = GOOD
        :: !IS_CORRECT(SENDER) -> decide = OTHER
        :: !IS_CORRECT(SENDER) -> decide = UNKNOWN
#ifdef TIMELY
        :: !IS_CORRECT(SENDER) -> decide = NOTHING
        fi;
        ends = 1;
#else
        :: true -> decide = NOTHING
        fi;
        if
        :: ends = 1
        :: ends = 0
        fi;
#endif
        for (p : 0 .. N - 1) {
            if
            :: IS_CORRECT(p) && p == SENDER -> run sender(p)
            :: IS_CORRECT(p) && p != SENDER -> run recipient(p)
            :: else
            fi
        }
        run agreement();
        if
        :: hostile != 0 -> run adversary()
        :: else
        fi
    }
}

#define HAS(p, message) (delivered[p] == (message))
#define ALL_HAVE(message) ((!IS_CORRECT(0) || HAS(0, message)) \
    && (!IS_CORRECT(1) || HAS(1, message)) && (!IS_CORRECT(2) || HAS(2, message)) \
    && (N < 4 || !IS_CORRECT(N - 1) || HAS(N - 1, message)))
#define SOME_HAS(message) (HAS(0, message) || HAS(1, message) || HAS(2, message) \
    || HAS(N - 1, message))
#define IS_MULTICAST (IS_CORRECT(SENDER) && proposed[SENDER])

#ifdef VALIDITY
ltl validity { [] (IS_MULTICAST -> <> SOME_HAS(GOOD)) }
#endif
#ifdef AGREEMENT
ltl agreement_of_all {
    [] ((SOME_HAS(GOOD) -> <> ALL_HAVE(GOOD)) && (SOME_HAS(OTHER) -> <> ALL_HAVE(OTHER)))
}
#endif
