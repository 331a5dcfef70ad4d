/*
 * Trusted ordering: one channel, as in crates/ttcb-core/src/order.rs, rules O2 to O5.
 * Names are those of the Rust code. README.md says what is left out, and which switch is for what.
 *
 * The control channel is a set of frames that grows: each can be delivered to any member at any
 * time, in any order, again, or never. A member that takes no step any more has crashed. Nothing
 * is timed: whoever's turn it is may find that something waits for too long.
 */

#ifndef N
#define N 3
#endif
#ifndef PLACES
#define PLACES 2
#endif
#ifndef BALLOTS
#define BALLOTS 3
#endif
/* How many places may be open, and how many entries a promise carries. */
#ifndef OPEN_MAX
#define OPEN_MAX PLACES
#endif
/* How many places are remembered. */
#ifndef KEPT
#define KEPT (3 * OPEN_MAX)
#endif

#define LEADER(ballot) ((ballot) % N)
#define BIT(position) (1 << (position))
#define IS_MAJORITY(count) (2 * (count) > N)

/* What stands at a place: nothing yet, a value, or (O4) nothing for good. Each ballot's leader has
 * a value of its own, the ballot's number and one: that is the worst case for agreement. */
#define NONE 0
#define FRESH(ballot) ((ballot) + 1)
#define EMPTY (BALLOTS + 1)

#define FOLLOWING 0
#define PREPARING 1
#define LEADING 2

typedef Log {
    /* By number, from 1 on; 0 is never used. */
    byte value[PLACES + 1];
    byte ballot[PLACES + 1];
    bit is_chosen[PLACES + 1]
};
typedef Member {
    byte promised;
    byte phase;
    byte promises;    /* whose, while preparing */
    byte chosen;      /* all places up to this are chosen */
    byte given;       /* the last place that was given in this ballot */
    byte skipped      /* the last place that was skipped: nobody remembered it */
};
/* Frames of one ballot. */
typedef Frames {
    byte put[PLACES + 1];         /* Accept: what the leader put at a place */
    byte accepted[PLACES + 1];    /* Accepted: by whom */
    byte prepare[N]               /* Prepare: to whom, and from which place on */
};
/* A promise carries the first entries of a log from a place on, as many as fit. */
typedef Promise {
    byte number[OPEN_MAX];
    byte value[OPEN_MAX];
    byte ballot[OPEN_MAX];
    bit is_chosen[OPEN_MAX];
    bit sent
};
typedef Promises {
    Promise by[N]
};

Member member[N];
Log log[N];
Frames frames[BALLOTS];
Promises promise[BALLOTS];

/* What a component has told for a place: only the claim looks at it. */
byte told[PLACES + 1];

/* Scratch of a single step. */
hidden byte i;
hidden byte k;
hidden byte count;
hidden byte first;
hidden byte last;
hidden byte copied;
hidden byte dropped;

#define MIN(a, b) ((a) < (b) -> (a) : (b))
#define MAX(a, b) ((a) > (b) -> (a) : (b))
#define IS_KNOWN(me, number) (log[me].value[number] != NONE)
#define LAST(me) MIN(member[me].chosen + OPEN_MAX, PLACES)
/* From where on a member remembers everything. */
#define OLDEST(me) (member[me].chosen + 1 > KEPT - OPEN_MAX + 1 \
    -> member[me].chosen + 1 - (KEPT - OPEN_MAX) : 1)

/* order: no two components tell different values for one place. */
inline tell(place, its_value)
{
    assert(told[place] == NONE || told[place] == its_value);
    told[place] = its_value
}

inline write(me, place, its_value, its_ballot, its_chosen)
{
    log[me].value[place] = its_value;
    log[me].ballot[place] = its_ballot;
    log[me].is_chosen[place] = its_chosen;
    /* The log is a ring. */
    if
    :: place > KEPT ->
        log[me].value[place - KEPT] = NONE;
        log[me].ballot[place - KEPT] = 0;
        log[me].is_chosen[place - KEPT] = 0
    :: else
    fi
}

/* Moves on over what is chosen. */
inline note_chosen(me)
{
    do
    :: member[me].chosen < PLACES && IS_KNOWN(me, member[me].chosen + 1) &&
        log[me].is_chosen[member[me].chosen + 1] -> member[me].chosen++
    :: else -> break
    od
}

/* O3: what a majority accepted in one ballot is chosen. Acknowledgements come at any time, so that
 * the moment when the last that is needed comes is all that matters. */
#define IS_ACCEPTED(me, number) (IS_KNOWN(me, number) && !log[me].is_chosen[number] \
    && number > member[me].chosen && number <= member[me].chosen + OPEN_MAX)

inline learn(me, place)
{
    count = 0;
    for (i : 0 .. N - 1) {
        count = count + ((frames[log[me].ballot[place]].accepted[place] >> i) & 1)
    }
    if
    :: IS_MAJORITY(count) ->
        log[me].is_chosen[place] = 1;
        log[me].ballot[place] = 0;   /* it makes no difference any more */
        tell(place, log[me].value[place]);
        note_chosen(me)
    :: else
    fi
}

inline adopt(me, place, its_value)
{
    if
    :: place > member[me].chosen && place <= member[me].chosen + OPEN_MAX ->
        write(me, place, its_value, 0, 1);
        tell(place, its_value);
        note_chosen(me)
    :: else
    fi
}

/* Frames that nobody will look at any more are taken away: that makes no difference but fewer
 * states. */
inline drop_promises(of_ballot)
{
    for (i : 0 .. N - 1) {
        promise[of_ballot].by[i].sent = 0;
        for (dropped : 0 .. OPEN_MAX - 1) {
            promise[of_ballot].by[i].number[dropped] = 0;
            promise[of_ballot].by[i].value[dropped] = 0;
            promise[of_ballot].by[i].ballot[dropped] = 0;
            promise[of_ballot].by[i].is_chosen[dropped] = 0
        }
    }
}

inline follow(me, its_ballot)
{
    if
    :: its_ballot > member[me].promised ->
        if
        :: member[me].phase == PREPARING -> drop_promises(member[me].promised)
        :: else
        fi;
        for (i : 0 .. its_ballot - 1) {
            frames[i].prepare[me] = 0
        }
        member[me].promised = its_ballot;
        member[me].phase = FOLLOWING;
        member[me].promises = 0;
        member[me].given = 0
    :: else
    fi
}

/* O3: accepts, and tells all. */
inline accept(me, its_ballot, place)
{
    if
    :: !log[me].is_chosen[place] ->
        write(me, place, frames[its_ballot].put[place], its_ballot, 0)
    :: else
    fi;
    frames[its_ballot].accepted[place] = frames[its_ballot].accepted[place] | BIT(me)
}

/* O3: accepts what is of no earlier ballot than it promised. */
inline on_accept(me, its_ballot, place)
{
    follow(me, its_ballot);
    if
    :: place > member[me].chosen && place <= member[me].chosen + OPEN_MAX ->
        accept(me, its_ballot, place);
        /* The leader has accepted it too, as it says so. */
        if
        :: IS_MAJORITY(2) && !log[me].is_chosen[place] -> learn(me, place)
        :: else
        fi
    :: else
    fi
}

inline give(me, place, its_value)
{
    assert(frames[member[me].promised].put[place] == NONE);
    frames[member[me].promised].put[place] = its_value;
    accept(me, member[me].promised, place)
}

#define MAY_GIVE(me) (member[me].phase == LEADING \
    && MAX(member[me].given, member[me].chosen) < LAST(me))

/* O2: the leader puts what enough vouched for at the next place. */
inline give_next(me)
{
    member[me].given = MAX(member[me].given, member[me].chosen) + 1;
    k = member[me].given;
    give(me, k, FRESH(member[me].promised))
}

/* O4: the value of the latest ballot again at each place, and nothing at gaps. */
inline lead(me)
{
    member[me].phase = LEADING;
    member[me].promises = 0;
    member[me].given = member[me].chosen;
    for (k : 1 .. PLACES) {
        if
        :: k > member[me].chosen && k <= LAST(me) && IS_KNOWN(me, k) -> member[me].given = k
        :: else
        fi
    }
    for (k : 1 .. PLACES) {
        if
        :: k > member[me].chosen && k <= member[me].given ->
            if
#ifdef FORGETS_VALUES
            :: true -> give(me, k, FRESH(member[me].promised))
#else
            :: IS_KNOWN(me, k) -> give(me, k, log[me].value[k])
#endif
            :: else -> give(me, k, EMPTY)
            fi
        :: else
        fi
    }
}

/* O4: prepares a later ballot. */
inline campaign(me, its_ballot)
{
    follow(me, its_ballot);
    member[me].phase = PREPARING;
    member[me].promises = BIT(me);
    for (i : 0 .. N - 1) {
        frames[its_ballot].prepare[i] = (i == me -> 0 : member[me].chosen + 1)
    }
}

#define IS_AWAITED(its_ballot) (member[LEADER(its_ballot)].phase == PREPARING \
    && member[LEADER(its_ballot)].promised == its_ballot)

#ifdef PROMISES_SKIPPED
/* The Rust code. */
#define REMEMBERS_FROM(me, place) true
#else
/* Who has skipped places knows less than it seems: the list that it promises with may begin with
 * one that it accepted and skipped, and end before what it accepted last. */
#define REMEMBERS_FROM(me, place) ((place) > member[me].skipped)
#endif

/* O4: promises, and tells what it accepted. */
inline on_prepare(me, its_ballot)
{
    first = frames[its_ballot].prepare[me];
    frames[its_ballot].prepare[me] = 0;
    if
    :: first >= OLDEST(me) && REMEMBERS_FROM(me, first) ->
        follow(me, its_ballot);
        promise[its_ballot].by[me].sent = IS_AWAITED(its_ballot);
        copied = 0;
        for (k : 1 .. PLACES) {
            if
            :: IS_AWAITED(its_ballot) && k >= first && k <= LAST(me) && IS_KNOWN(me, k) &&
                copied < OPEN_MAX ->
                promise[its_ballot].by[me].number[copied] = k;
                promise[its_ballot].by[me].value[copied] = log[me].value[k];
                promise[its_ballot].by[me].ballot[copied] = log[me].ballot[k];
                promise[its_ballot].by[me].is_chosen[copied] = log[me].is_chosen[k];
                copied++
            :: else
            fi
        }
    :: else
    fi
}

#define ENTRY(field) promise[ballot_].by[from].field[i]
#define IS_FULL (promise[ballot_].by[from].number[OPEN_MAX - 1] != 0)

inline on_promise(me, from)
{
    for (i : 0 .. OPEN_MAX - 1) {
        if
        :: ENTRY(number) != 0 && ENTRY(is_chosen) ->
            adopt(me, ENTRY(number), ENTRY(value))
        :: else
        fi
    }
    if
    :: IS_FULL && promise[ballot_].by[from].is_chosen[0] ->
        /* There may be more behind: ask again. */
        frames[ballot_].prepare[from] = member[me].chosen + 1
    :: else ->
        for (i : 0 .. OPEN_MAX - 1) {
            k = ENTRY(number);
            if
            :: k > member[me].chosen ->
                if
                :: !IS_KNOWN(me, k) ||
                    (!log[me].is_chosen[k] && log[me].ballot[k] < ENTRY(ballot)) ->
                    write(me, k, ENTRY(value), ENTRY(ballot), ENTRY(is_chosen))
                :: else
                fi
            :: else
            fi
        }
        member[me].promises = member[me].promises | BIT(from);
        count = 0;
        for (i : 0 .. N - 1) {
            count = count + ((member[me].promises >> i) & 1)
        }
        if
        :: IS_MAJORITY(count) -> lead(me); drop_promises(member[me].promised)
        :: else
        fi
    fi;
    /* The frame is used up. */
    promise[ballot_].by[from].sent = 0;
    for (i : 0 .. OPEN_MAX - 1) {
        ENTRY(number) = 0;
        ENTRY(value) = 0;
        ENTRY(ballot) = 0;
        ENTRY(is_chosen) = 0
    }
}

#ifdef SKIPS_UNCHOSEN
/* The Rust code: of everything up to the last place that may be open, what is chosen. */
#define CHOSEN_LAST(me) LAST(me)
#else
/* Only where all before is chosen too: what comes after a gap says nothing about the gap. */
#define CHOSEN_LAST(me) (member[me].chosen)
#endif

/* O5: says where it is, and is given what is chosen; what nobody remembers is skipped. */
inline catch_up(me, from)
{
    first = MAX(member[me].chosen + 1, OLDEST(from));
    last = CHOSEN_LAST(from);
    copied = 0;
    for (k : 1 .. PLACES) {
        if
        :: k >= first && k <= last && IS_KNOWN(from, k) && log[from].is_chosen[k] &&
            copied < OPEN_MAX ->
            if
            :: copied == 0 && k > member[me].chosen + 1 ->
                member[me].chosen = k - 1;
                member[me].skipped = k - 1
            :: else
            fi;
            copied++;
            adopt(me, k, log[from].value[k])
        :: else
        fi
    }
}

#ifdef LAG
/* 0 and 3 take no step any more, and only 4 still gets what they sent. */
#define IS_SILENT(me) (me == 0 || me == 3)
#define REACHES(from, to) (!IS_SILENT(from) || to == 4)
#else
#define IS_SILENT(me) false
#define REACHES(from, to) true
#endif

/* A loop at the end of a `d_step` needs something behind it to break to. */
#define ON_ACCEPT(ballot_, number) \
    :: d_step { frames[ballot_].put[number] != NONE && me != LEADER(ballot_) \
        && REACHES(LEADER(ballot_), me) && !(frames[ballot_].accepted[number] & BIT(me)) \
        && (ballot_ > member[me].promised \
        || (ballot_ == member[me].promised && number > member[me].chosen)) -> \
        on_accept(me, ballot_, number) }
#define ON_PREPARE(ballot_) \
    :: d_step { frames[ballot_].prepare[me] != 0 && ballot_ >= member[me].promised -> \
        on_prepare(me, ballot_); skip }
#define ON_PROMISE(from) \
    :: d_step { member[me].phase == PREPARING && promise[member[me].promised].by[from].sent -> \
        ballot_ = member[me].promised; on_promise(me, from); ballot_ = 0 }
#define CAMPAIGN(ballot_) \
    :: d_step { me == LEADER(ballot_) && ballot_ > member[me].promised -> \
        campaign(me, ballot_); skip }
#define LEARN(number) :: d_step { IS_ACCEPTED(me, number) -> learn(me, number); skip }
#define CATCH_UP(from) \
    :: d_step { from != me && REACHES(from, me) && LAST(from) > member[me].chosen -> \
        catch_up(me, from); skip }

proctype component(byte me)
{
    byte ballot_;
end:
    do
    :: d_step { MAY_GIVE(me) -> give_next(me) }
    ON_ACCEPT(0, 1)
    ON_ACCEPT(0, 2)
    ON_ACCEPT(1, 1)
    ON_ACCEPT(1, 2)
#if BALLOTS > 2
    ON_ACCEPT(2, 1)
    ON_ACCEPT(2, 2)
#if PLACES > 2
    ON_ACCEPT(2, 3)
#endif
    ON_PREPARE(2)
    CAMPAIGN(2)
#endif
#if PLACES > 2
    ON_ACCEPT(0, 3)
    ON_ACCEPT(1, 3)
    LEARN(3)
#endif
#if PLACES > 4
    ON_ACCEPT(0, 4)
    ON_ACCEPT(1, 4)
    LEARN(4)
    ON_ACCEPT(0, 5)
    ON_ACCEPT(1, 5)
    LEARN(5)
#endif
#if N > 3
    ON_PROMISE(3)
    ON_PROMISE(4)
    CATCH_UP(3)
    CATCH_UP(4)
#endif
    ON_PREPARE(1)
    CAMPAIGN(1)
    ON_PROMISE(0)
    ON_PROMISE(1)
    ON_PROMISE(2)
    LEARN(1)
    LEARN(2)
    CATCH_UP(0)
    CATCH_UP(1)
    CATCH_UP(2)
    od
}

#ifdef LAG
/*
 * Where the search begins, with N = 5, PLACES = 5, OPEN_MAX = 2, KEPT = 5, BALLOTS = 2. The leader,
 * 0, has had places 1 to 4 chosen with 2 and 3; then it has put something at 5, which 3 has
 * accepted. 1 has heard nothing. 2 has not heard that place 4 is chosen. 4 has accepted place 1 and
 * heard nothing since; as the leader remembers places from 2 on, it may skip place 1.
 */
inline begin_with_lag()
{
    member[0].given = 4;
    for (k : 1 .. 4) {
        frames[0].put[k] = FRESH(0);
        told[k] = FRESH(0);
        frames[0].accepted[k] = BIT(0) | BIT(2) | BIT(3);
        write(0, k, FRESH(0), 0, 1);
        write(2, k, FRESH(0), 0, k < 4);
        write(3, k, FRESH(0), 0, 1)
    }
    frames[0].accepted[1] = frames[0].accepted[1] | BIT(4);
    write(4, 1, FRESH(0), 0, 0);
    frames[0].put[5] = FRESH(0);
    frames[0].accepted[5] = BIT(0) | BIT(3);
    note_chosen(0);
    note_chosen(2);
    note_chosen(3)
}
#endif

init
{
    byte position;
    atomic {
        member[0].phase = LEADING;
#ifdef LAG
        d_step { begin_with_lag(); skip };
#endif
        for (position : 0 .. N - 1) {
            if
            :: !IS_SILENT(position) -> run component(position)
            :: else
            fi
        }
    }
}

#define HAS(me, place) (log[me].is_chosen[place])
#define SAME(i, j, place) (!(HAS(i, place) && HAS(j, place)) \
    || log[i].value[place] == log[j].value[place])
#define SAME_ALL(place) (SAME(0, 1, place) && SAME(0, 2, place) && SAME(1, 2, place))

#ifdef ORDER
ltl order { [] (SAME_ALL(1) && SAME_ALL(2)) }
#endif
