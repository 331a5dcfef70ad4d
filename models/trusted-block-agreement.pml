/*
 * Trusted block agreement: one agreement, as in crates/ttcb-core/src/agreement.rs, rules T1 to T7.
 * Names are those of the Rust code. README.md says what is left out, and which switch is for what.
 *
 * Each component's clock is a phase that moves on whenever it likes: nothing relates one
 * component's clock to another's, or to the frames, unless SYNC is given. A frame that was sent can
 * be delivered at any time, in any order, or never: that is delay, reordering and loss. A component
 * that takes no step any more has crashed; only where others wait for it (SYNC) is it said.
 */

#ifndef N
#define N 3
#endif
/* What an entity may propose, beside nothing: 1 to VALUES, at most 3. */
#ifndef VALUES
#define VALUES 2
#endif

#define ALL ((1 << N) - 1)
#define BIT(position) (1 << (position))
#define IS_MAJORITY(count) (2 * (count) > N)
/* A vector has two bits a position; nothing is 0. No vector of up to four is 255. */
#define VALUE_OF(vector, position) (((vector) >> (2 * (position))) & 3)
#define WITH(position, value) ((value) << (2 * (position)))
#define UNDECIDED 255

/* What `earliest` has reached. */
#define BEFORE 0
#define TSTART 1       /* certainly tstart */
#define BOUND 2        /* ... and one bound */
#define TWO_BOUNDS 3   /* more than two: too late for T3 */
#define PATIENCE 4     /* three: T5 */
#define KEPT 5         /* long past: T7 */

typedef Place {
    byte phase;    /* of the component's clock */
    bit known;     /* it takes part; else no place is taken */
    byte vector;   /* what was proposed, as far as it is known */
    byte heard;    /* whose proposals are here */
    bit voted;     /* then `vector` is what was acknowledged */
    byte votes;    /* whose acknowledgements are here, but the own */
    byte decided;
    bit stopped;
    bit life       /* 1: another life than the list names */
};
Place at[N];

/* Frames that were sent, by position of the sender: to whom, and what. A component's first life
 * sends one proposal and one acknowledgement, and what another life sends is discarded by all. */
byte proposal_to[N];
byte proposal[N];
byte vote_to[N];
byte vote[N];

/* What only the claims look at. */
byte in_time[N];         /* what the entity proposed in time */
bit asked[N];            /* it did propose */
byte outcome = UNDECIDED;
bit acknowledged[N];
bit forgotten[N];

/* How a component crashes. */
#define BETWEEN_STEPS 1
#define SENDING_VOTE 2
#define SENDING_PROPOSAL 3

#ifdef SYNC
/* Which frames were handled, even if only to refuse them. */
byte proposals_done[N];
byte votes_done[N];
bit crashed[N];
/* Who crashes, how, and whom its last frame reaches: chosen in advance. */
byte victim = N;
byte manner;
byte reached;
#define IS_UP(me) (!crashed[me])
#else
#define IS_UP(me) true
#endif

/* Scratch of a single step. */
hidden byte q;
hidden byte equal;
hidden byte what;
hidden byte opened;

inline tell(me)
{
    /* validity: what an entity is said to have proposed, it proposed in time */
    for (q : 0 .. N - 1) {
        assert(VALUE_OF(at[me].decided, q) == 0 || VALUE_OF(at[me].decided, q) == in_time[q])
    }
    /* agreement */
    assert(outcome == UNDECIDED || outcome == at[me].decided);
    outcome = at[me].decided
}

inline decide(me, vector_)
{
    if
    :: at[me].decided == UNDECIDED ->
        at[me].decided = vector_;
        if
#ifdef ANY_LIFE_TELLS
        :: true ->
#else
        :: at[me].life == 0 ->   /* decide(): the list names no entity of another life */
#endif
            tell(me)
        :: else
        fi
    :: else
    fi
}

/* T4: counts who acknowledged this vector. */
inline count_vote(me, vector_)
{
    equal = (at[me].voted && at[me].vector == vector_ -> 1 : 0);
    for (q : 0 .. N - 1) {
        equal = equal + ((at[me].votes & BIT(q)) && vote[q] == vector_ -> 1 : 0)
    }
    if
    :: IS_MAJORITY(equal) -> decide(me, vector_)
    :: else
    fi
}

/* Sends to all; or, if this is where it crashes, to some. */
inline send(me, sent_to, kind)
{
    sent_to = (at[me].life == 0 -> ALL & ~BIT(me) : sent_to);
#ifdef SYNC
    if
    :: me == victim && manner == kind ->
        sent_to = reached & ~BIT(me);
        crashed[me] = 1
    :: else
    fi
#endif
}

/* T1, T2: what the entity proposed, or that it did not, is settled and told. */
inline settle_proposal(me, value)
{
    at[me].heard = at[me].heard | BIT(me);
    at[me].vector = at[me].vector | WITH(me, value);
    if
    :: at[me].life == 0 -> proposal[me] = value
    :: else
    fi;
    send(me, proposal_to[me], SENDING_PROPOSAL)
}

/* T3: acknowledges the vector of what is here, for good. */
inline acknowledge(me)
{
    assert(!acknowledged[me]);
    acknowledged[me] = 1;
    at[me].voted = 1;
#ifdef NAIVE
    /* The source: commit if frames of a majority are here. */
    equal = 0;
    for (q : 0 .. N - 1) {
        equal = equal + ((at[me].heard >> q) & 1)
    }
    if
    :: IS_MAJORITY(equal) -> decide(me, at[me].vector)
    :: else
    fi
#else
    if
    :: at[me].life == 0 -> vote[me] = at[me].vector
    :: else
    fi;
    send(me, vote_to[me], SENDING_VOTE);
    count_vote(me, at[me].vector)
#endif
}

inline forget(me)
{
    forgotten[me] = forgotten[me] | at[me].known;
    at[me].known = 0;
    at[me].vector = 0;
    at[me].heard = 0;
    at[me].voted = 0;
    at[me].votes = 0;
    at[me].decided = UNDECIDED;
    at[me].stopped = 0
}

#define CLOSED(me) (at[me].heard & BIT(me))
#define CLOSE_DUE(me) (!CLOSED(me) && at[me].phase >= TSTART)
#define VOTE_DUE(me) (at[me].heard == ALL || at[me].phase >= BOUND)
#define MAY_VOTE(me) (at[me].decided == UNDECIDED && !at[me].stopped && !at[me].voted)

/* Takes every step that is due: T2, T3, T6, T7. */
inline advance(me)
{
    if
    :: at[me].phase == KEPT -> forget(me)
    :: at[me].phase != KEPT && at[me].known && MAY_VOTE(me) ->
        if
        :: (CLOSE_DUE(me) && at[me].phase >= BOUND) ||
            (VOTE_DUE(me) && at[me].phase >= TWO_BOUNDS) ->
            at[me].stopped = 1
        :: else ->
            if
            :: CLOSE_DUE(me) -> settle_proposal(me, 0)
            :: else
            fi;
            if
            :: VOTE_DUE(me) && IS_UP(me) -> acknowledge(me)
            :: else
            fi
        fi
#ifdef DECIDER_VOTES
    /* A remedy, not in the Rust code: who decides without having acknowledged, acknowledges. */
    :: at[me].phase != KEPT && at[me].known && at[me].decided != UNDECIDED &&
        !at[me].stopped && !at[me].voted ->
        at[me].vector = at[me].decided;
        acknowledge(me)
#endif
    :: else
    fi
}

/* T7: begun only if its time for T3 is not certainly past. `refuses` is the component's doubt. */
inline open(me, refuses)
{
    if
    :: !at[me].known && at[me].phase < BOUND && !(refuses) ->
        assert(!forgotten[me]);
        at[me].known = 1
    :: else
    fi;
    opened = at[me].known
}

/* T1: certainly before tstart, and the first of an entity counts. */
inline propose(me, value)
{
    open(me, 0);
    asked[me] = 1;
    in_time[me] = value;
    settle_proposal(me, value);
    advance(me)
}

inline on_proposal(me, from, refuses)
{
    open(me, refuses);
    if
    :: opened ->
        if
        :: !at[me].voted && !(at[me].heard & BIT(from)) ->
            at[me].heard = at[me].heard | BIT(from);
            at[me].vector = at[me].vector | WITH(from, proposal[from])
        :: else
        fi;
        advance(me)
    :: else
    fi
}

inline on_vote(me, from, refuses)
{
    open(me, refuses);
    if
    :: opened ->
        at[me].votes = at[me].votes | BIT(from);
        what = vote[from];
        count_vote(me, what);
        advance(me)
    :: else
    fi
}

inline tick(me, to)
{
    at[me].phase = to;
    advance(me)
}

#ifdef SYNC

/* The channel keeps its bound, and the clocks are together: when one is certainly before tstart,
 * none is certainly past it. */
#define PRECISE ((crashed[0] || at[0].phase == BEFORE) && (crashed[1] || at[1].phase == BEFORE) \
    && (crashed[2] || at[2].phase == BEFORE) && (N < 4 || crashed[N - 1] \
    || at[N - 1].phase == BEFORE))
/* What was proposed in time is here. */
#define HERE(me, from) (!asked[from] || !(proposal_to[from] & BIT(me)) \
    || (proposals_done[me] & BIT(from)))
#define PROPOSALS_HERE(me) (HERE(me, 0) && HERE(me, 1) && HERE(me, 2) && HERE(me, N - 1))
/* It has acknowledged what it will, and that is here. */
#define DONE(me, from) ((crashed[from] || at[from].phase >= BOUND) \
    && (!(vote_to[from] & BIT(me)) || (votes_done[me] & BIT(from))))
#define VOTES_HERE(me) (DONE(me, 0) && DONE(me, 1) && DONE(me, 2) && DONE(me, N - 1))

#define PROPOSE_GUARD(me) (PRECISE)
#define PROPOSAL_GUARD(me, from) (!(proposals_done[me] & BIT(from)))
#define VOTE_GUARD(me, from) (!(votes_done[me] & BIT(from)))
#define TICK_GUARD(me, from, to) (at[me].phase == (from) && ((to) != BOUND || PROPOSALS_HERE(me)) \
    && ((to) != PATIENCE || VOTES_HERE(me)))
#define PROPOSAL_DONE(me, from) proposals_done[me] = proposals_done[me] | BIT(from)
#define VOTE_DONE(me, from) votes_done[me] = votes_done[me] | BIT(from)

#else

#define PROPOSE_GUARD(me) (true)
/* What comes later changes nothing that matters. */
#define PROPOSAL_GUARD(me, from) (MAY_VOTE(me) && !(at[me].heard & BIT(from)))
#define VOTE_GUARD(me, from) (at[me].decided == UNDECIDED && !(at[me].votes & BIT(from)))
#define TICK_GUARD(me, from, to) (at[me].phase < (to))
#define PROPOSAL_DONE(me, from) skip
#define VOTE_DONE(me, from) skip

#endif

/* The entity proposes a value, or that it has none; another that it tries later is refused. */
#define PROPOSE(value) \
    :: d_step { IS_UP(me) && at[me].life == 0 && !CLOSED(me) && at[me].phase == BEFORE \
        && PROPOSE_GUARD(me) -> propose(me, value) }

#define DELIVER(from) \
    :: d_step { IS_UP(me) && (proposal_to[from] & BIT(me)) && PROPOSAL_GUARD(me, from) -> \
        PROPOSAL_DONE(me, from); on_proposal(me, from, 0) } \
    :: d_step { IS_UP(me) && (vote_to[from] & BIT(me)) && VOTE_GUARD(me, from) -> \
        VOTE_DONE(me, from); on_vote(me, from, 0) }

/* `open` in the Rust code asks whether it is certainly not past: it may refuse what is in time. */
#define REFUSE(from) \
    :: d_step { IS_UP(me) && !at[me].known && at[me].phase == TSTART \
        && (proposal_to[from] & BIT(me)) && PROPOSAL_GUARD(me, from) -> \
        PROPOSAL_DONE(me, from); on_proposal(me, from, 1) } \
    :: d_step { IS_UP(me) && !at[me].known && at[me].phase == TSTART \
        && (vote_to[from] & BIT(me)) && VOTE_GUARD(me, from) -> \
        VOTE_DONE(me, from); on_vote(me, from, 1) }

#define TICK(from, to) :: d_step { IS_UP(me) && TICK_GUARD(me, from, to) -> tick(me, to) }

proctype component(byte me)
{
end:
    do
#ifndef FEW
    PROPOSE(0)
#endif
    PROPOSE(1)
#if VALUES > 1
    PROPOSE(2)
#endif
    DELIVER(0)
    DELIVER(1)
    DELIVER(2)
#if N > 3
    DELIVER(3)
#endif
#ifdef SYNC
#ifdef LATEST
    REFUSE(0)
    REFUSE(1)
    REFUSE(2)
#endif
    :: d_step { me == victim && manner == BETWEEN_STEPS && !crashed[me] -> crashed[me] = 1 }
#endif
    TICK(BEFORE, TSTART)
    TICK(TSTART, BOUND)
#ifdef SYNC
    TICK(BOUND, PATIENCE)
#else
#ifndef FEW
    TICK(BOUND, TWO_BOUNDS)
    TICK(BOUND, KEPT)
#endif
#endif
#ifdef RESTART
    /* Another life: nothing is left, and its clock shows anything. All are alike: the first. */
    :: d_step { me == 0 && at[me].life == 0 ->
        forget(me); at[me].phase = BEFORE; at[me].life = 1;
        forgotten[me] = 0; acknowledged[me] = 0 }
#endif
#ifdef CLOCK_BACK
    :: d_step { at[me].phase == KEPT -> at[me].phase = BEFORE }
#endif
    od
}

init
{
    byte i;
    atomic {
#ifdef CRASH
        /* One, a minority; all are alike, so it may as well be the first. */
        manner = CRASH;
        victim = 0;
        if
        :: manner != BETWEEN_STEPS -> select(reached : 0 .. ALL)
        :: else
        fi;
#endif
        for (i : 0 .. N - 1) {
            at[i].decided = UNDECIDED;
            run component(i)
        }
    }
}

#define TOLD(i) (at[i].life == 0 && at[i].decided != UNDECIDED)
#define SAME(i, j) (!(TOLD(i) && TOLD(j)) || at[i].decided == at[j].decided)
#define TERMINATES(i) (!asked[i] || (<> (at[i].decided != UNDECIDED || !IS_UP(i))))

#ifdef AGREEMENT
ltl agreement { [] (SAME(0, 1) && SAME(0, 2) && SAME(1, 2)) }
#endif
#ifdef TERMINATION
ltl termination { [] (TERMINATES(0) && TERMINATES(1) && TERMINATES(2)) }
#endif
