"""Watches the sample from another thread: whether other threads can run, and how much memory
the function takes while it runs.

The thread sleeps and looks how late it wakes.

A thread that asks for the interpreter lock while another computes gets it after the switch
interval (5 ms by default); while C code has released the lock, or the function waits, it gets
it at once. Its lateness, relative to the time watched, is the share of time in which the lock
could not be had. It needs several milliseconds to see anything.

On a busy machine the thread also waits for a processor, which says nothing of the lock. The
kernel tells for how long; but it goes on to count where both are waited for at once. A wake-up
that is late by a whole switch interval beyond that had to have the lock taken away from the
function, so that all of its lateness counts.

A function that lets go of the lock for moments only, again and again, as a database does for each
row, looks as if it left it to others. But it wants it back at once, and has to wait whenever the
watching thread has it: the kernel counts these waits. Two such functions side by side wait for each
other more than they run.

A host may stop a virtual machine for some milliseconds: everything is late then, and nothing has
held the lock. A wake-up that is very late beside a function that hardly wants a processor counts
for nothing, unless most are, or it takes longer than any host would: then C code holds the lock
while it waits.
"""

from __future__ import annotations

import _thread
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from amorsize.files import content
from amorsize.switching import switching

if sys.platform != "win32":
    import resource

_TICK_S = 0.0005
_TICKS_PER_LOOK = 4
_WAKING_S, _WAKING_MOST_S = 0.00015, 0.0004
"""Lateness of any sleep: the kernel's timer slack, and the wake-up itself. Where the processor
sleeps meanwhile, as beside functions that wait, that takes longer: the shortest lateness of a watch
tells how long, up to the second figure."""
_BUSY_SHARE = 0.2
"""Largest share of the time so far in which a function that waits may have computed, or held the
lock."""
_POLITE_S = 0.00005
"""Switch interval while something else is done beside the function: it gets the lock back at
once when it wants it."""
_POLITE_LATENESS = 0.5
"""Share of the time that the lock is away from what is done beside pure Python, which then
takes turns with it."""
_FEW_LOOKS, _WANTED_BACK = 5, 0.5
"""Looks below which nothing is said of how often the function wanted the lock back meanwhile, and
the part of them from which on it lets go of the lock for moments only. Seen: 0.9 to 1.1 of a
database that inserts rows, 0.65 of hashing 4 kB at a time (two threads gain next to nothing), none
to 0.25 of hashing megabytes, compressing, and numpy."""
_GONE_S = 0.02
"""Most seconds to wait for that a thread is gone."""
_TAKEN_SHARE = 0.4
"""Share of a switch interval that must have been spent on the lock alone for it to have been
taken away."""
_BLIND_SHARE = 0.5
"""Most of a watch that may have been none."""
_IDLE_SHARE = 0.3
"""Share of the time for which a function wants a processor, below which it mostly waits."""
_LONG_PAUSE = 10.0
"""Switch intervals for which no host stops a process."""
_LATENESS_WHEN_HELD = 0.89
"""Lateness share seen while pure Python computes without a pause: between two waits of one
switch interval the watcher sleeps one tick (5.0 / (5.0 + 0.5) = 0.91, less the wake-up)."""


class Monitor:
    """Watches from ``start`` to ``stop``; either costs about 0.1 ms.

    The watching thread is a bare one: ``threading`` would wait until it runs, which takes longer
    than a short sample. ``threading`` does not know it, and would never forget it once it did; so
    what is done meanwhile, which may ask for the current thread, is done by one that it knows, and
    that goes on to watch.

    Args:
        rss_bytes: tells the resident size of this process.
        meanwhile: called one after the other, in the watching thread, when the function turns out
            to wait: what has to be done after the sample anyway costs nothing then. What the end
            of the watch finds undone is left undone.
        spinning: other threads that are on a processor anyway, whether the function waits or not.
    """

    def __init__(
        self,
        rss_bytes: Callable[[], int] | None = None,
        meanwhile: Sequence[Callable[[], object]] = (),
        spinning: int = 0,
    ) -> None:
        self._rss_bytes, self._meanwhile, self._spinning = rss_bytes, meanwhile, spinning
        self.peak_rss_bytes = 0
        """Largest resident size seen while watching, in bytes."""
        self._cpu_s, self._clock = 0.0, -1
        """CPU seconds of threads that have watched, and the clock of the one that does."""
        self._handing_s = 0.0
        """CPU seconds that starting the second of them took the first one."""
        self._stop, self._ended = _thread.allocate_lock(), _thread.allocate_lock()
        """Held until the watch is to end, and until it has ended."""
        self._home = os.getpid()
        self._threads: list[int] = []
        """Those that have watched, by the system's numbers."""
        self._helper: threading.Thread | None = None
        self._late_s = 0.0
        """Seconds in which the lock could not be had so far, waking up included."""
        self._wakings, self._waking_s = 0, _WAKING_MOST_S
        """How many parts of it may be nothing but waking up, and what that takes at most: no more
        than the shortest of them."""
        self._pauses, self._paused_s = 0, 0.0
        """Wake-ups that were very late beside a function that is rarely on a processor, and their
        seconds: a host may have stopped both."""
        self._starved_s = 0.0
        """Seconds in which the watching thread wanted a processor that other programs had."""
        self._begin = self._before = self._end = self._elapsed = 0.0
        self._looks = self._waits = 0
        """How often the watching thread has looked, and how often the watched one has waited."""
        self._used_s = 0.0
        """CPU seconds of the watching thread when it last woke: its own work makes it no later."""
        self._queued_s = 0.0
        """Seconds that the thread had waited for a processor by its last look at it; also before
        it ran for the first time."""
        self._interval_s = switching.usual_s()
        self.has_begun = self._runs = False
        """Whether ``start`` was called, and whether a thread watches since."""
        self._watched, self._watched_id = threading.get_ident(), threading.get_native_id()
        self._watched_before_s = 0.0

    def start(self) -> None:
        """Begin to watch."""
        self.has_begun = True
        self._waits = -waits_so_far()
        self._watched_before_s = self._watched_cpu_s()
        self._begin = self._before = time.perf_counter()
        self._stop.acquire()
        self._ended.acquire()
        with suppress(RuntimeError):  # no more threads are allowed here: nothing is seen
            _thread.start_new_thread(self._watch, ())
            self._runs = True

    def stop(self) -> None:
        """End watching, if it has begun."""
        if not self._runs or os.getpid() != self._home:  # an item has forked: no thread is here
            return
        self._waits += waits_so_far()
        self._end = time.perf_counter()
        self._stop.release()
        self._ended.acquire()
        if self._helper is not None:
            self._helper.join()
        self._elapsed = self._end - self._begin

    def leave(self) -> None:
        """Wait until no thread of a stopped watch is left, which takes the system a moment: what
        else there is to do comes before.
        """
        if os.getpid() == self._home:
            for thread in self._threads:
                _gone(thread)

    @property
    def cpu_s(self) -> float:
        """CPU seconds that watching, and what was done meanwhile, have taken so far: not the
        function's. Where the system does not tell them of another thread, once it has ended.
        """
        before_s = self._cpu_s + self._handing_s
        clock = self._clock  # in this order: what one has taken does not count twice
        try:
            return before_s + time.clock_gettime(clock) if clock != -1 else before_s
        except OSError:  # it has just ended
            return self._cpu_s + self._handing_s

    @property
    def threads(self) -> int:
        """Threads that have watched."""
        return len(self._threads)

    @property
    def watched_s(self) -> float:
        """Seconds watched."""
        return self._elapsed

    @property
    def is_enough(self) -> bool:
        """Whether it was watched for long enough to tell anything: pauses are no watching, nor are
        moments in which other programs kept the watching thread from a processor.
        """
        blind_s = self._paused_s + self._starved_s
        return self.watched_s >= self.needed_s() and blind_s <= _BLIND_SHARE * self.watched_s

    @property
    def held_share(self) -> float:
        """Share of the watched time in which the lock could not be had, 0 to 1."""
        if self.watched_s <= 0:
            return 1.0
        held_s, watched_s = self._held_s(), self.watched_s - self._starved_s
        long = self._paused_s > _LONG_PAUSE * self._interval_s
        if long or self._pauses > self._wakings + 1:  # that must be the function's doing
            held_s += self._paused_s
        else:
            watched_s = max(watched_s - self._paused_s, held_s)
        return min(1.0, held_s / max(watched_s, 1e-9) / _LATENESS_WHEN_HELD)

    @property
    def for_moments(self) -> bool:
        """Whether the function has waited nearly whenever the watching thread had the lock. If it
        computes, it lets go of it for moments only; others wait for other things. Unknown, and so
        false, where the system does not count the waits of a thread.
        """
        return self._looks >= _FEW_LOOKS and self._waits > _WANTED_BACK * self._looks

    def _held_s(self) -> float:
        """Seconds in which the lock could not be had, what every waking takes left out."""
        return self._late_s - self._wakings * self._waking_s

    @staticmethod
    def needed_s() -> float:
        """Least seconds of watching that tell anything: one switch interval."""
        return switching.usual_s()

    def _watch(self) -> None:
        self._threads.append(threading.get_native_id())
        self._tell_cpu_s()
        handed_over = False
        try:
            handed_over = self._look()
        finally:
            spent_s = time.thread_time()
            self._clock, self._cpu_s = -1, self._cpu_s + spent_s
            if handed_over:
                self._hand_over()
                self._handing_s = time.thread_time() - spent_s
            else:
                self._ended.release()

    def _look(self) -> bool:
        """Look how late this thread wakes, until the watch ends or there is room for other things
        that another one has to do; whether there is.
        """
        ticks, queued = 0, queued_s(self._watched_id)
        self._used_s = time.thread_time()
        while not self._stop.acquire(timeout=_TICK_S):
            now = time.perf_counter()
            self._woke(now, queued)
            ticks += 1
            if self._rss_bytes is not None and ticks % _TICKS_PER_LOOK == 0:
                self.peak_rss_bytes = max(self.peak_rss_bytes, self._rss_bytes())
                now = time.perf_counter()  # reading a file lets go of the lock, too
                self._late_s += self._lateness(now, 0.0)
            if self._meanwhile and self._leaves_room(now - self._begin, queued):
                return True
        # The last wait was cut short: how late it was by then counts as well.
        self._woke(self._end, queued, whole=False)
        return False

    def _woke(self, now: float, queued: float, *, whole: bool = True) -> None:
        """Note how late the thread woke. ``queued`` are the seconds for which the function's had
        waited for a processor when the watch began.
        """
        self._looks += 1
        late_s = self._lateness(now, _TICK_S)
        if late_s >= _TAKEN_SHARE * self._interval_s and self._is_idle(now, queued):
            self._pauses += 1
            self._paused_s += late_s
            return
        self._late_s += late_s
        if whole and late_s < self._interval_s:
            self._wakings += 1
            self._waking_s = min(self._waking_s, late_s)

    def _lateness(self, now: float, asleep_s: float) -> float:
        """Seconds since the last look in which the lock could not be had, besides those asleep and
        those of this thread's own work.
        """
        used_s = time.thread_time()
        beside_s = asleep_s + used_s - self._used_s
        late_s = self._without_lock_s(now - self._before - beside_s)
        self._before, self._used_s = now, used_s
        return late_s

    def _is_idle(self, now: float, queued: float) -> bool:
        """Whether the function has hardly wanted a processor so far. One that waits for it now does
        want it, for how long is told only once it has it.
        """
        wanted_s = self._watched_cpu_s() - self._watched_before_s
        wanted_s += queued_s(self._watched_id) - queued
        return wanted_s < _IDLE_SHARE * (now - self._begin) and not _is_runnable(self._watched_id)

    def _hand_over(self) -> None:
        """Let a thread that ``threading`` knows do what is to be done meanwhile, and go on."""
        self._helper = threading.Thread(target=self._go_on, name="amorsize-gil", daemon=True)
        try:
            self._helper.start()
        except RuntimeError:  # no more threads are allowed here: nothing more is seen
            self._helper = None
            self._ended.release()

    def _tell_cpu_s(self) -> None:
        """Let others ask for the CPU seconds of this thread from now on."""
        if hasattr(time, "pthread_getcpuclockid"):
            self._clock = time.pthread_getcpuclockid(threading.get_ident())

    def _go_on(self) -> None:
        self._tell_cpu_s()  # what is done meanwhile computes far more than watching does
        try:
            self._do_meanwhile()
        finally:
            self._before = time.perf_counter()
            self._watch()

    def _leaves_room(self, watched_s: float, queued: float) -> bool:
        """Whether the function waits, and has done little else so far. Beside one that computes,
        even without the lock, or wants a processor that other programs have, the two would slow
        each other down and the times of the sample would be wrong.
        """
        most_s, used_s = _BUSY_SHARE * watched_s, self._watched_cpu_s() - self._watched_before_s
        if max(self._held_s(), used_s) > most_s:
            return False
        wanted_s = used_s + queued_s(self._watched_id) - queued
        return wanted_s <= most_s and running_threads() <= 1 + self._spinning

    def _do_meanwhile(self) -> None:
        """How much longer it takes than it computes tells of the lock, too."""
        steps, self._meanwhile = self._meanwhile, ()
        wall, cpu, theirs = time.perf_counter(), time.thread_time(), self._watched_cpu_s()
        with switching.shortened(_POLITE_S):
            for step in steps:
                if self._stop.locked():
                    with suppress(Exception):  # it fails again when it is wanted, and tells then
                        step()
        self._queued_s = queued_s()
        wall, cpu = time.perf_counter() - wall, time.thread_time() - cpu
        # Waiting for a processor counts, too: two threads that take turns do a lot of that. But
        # nothing is held by a function that is on no processor.
        without_s = min(wall - cpu, self._watched_cpu_s() - theirs)
        self._late_s += min(wall, without_s / _POLITE_LATENESS) * _LATENESS_WHEN_HELD

    def _watched_cpu_s(self) -> float:
        """CPU seconds of the thread that runs the function; as time goes by where the system does
        not tell.
        """
        try:
            return time.clock_gettime(time.pthread_getcpuclockid(self._watched))
        except (AttributeError, OSError):
            return time.perf_counter()

    def _without_lock_s(self, late_s: float) -> float:
        """Part of a lateness in which the lock could not be had."""
        if late_s <= _WAKING_S:  # of every sleep
            return 0.0
        queued, self._queued_s = self._queued_s, queued_s()
        waited_s = max(0.0, late_s - (self._queued_s - queued))
        if late_s >= self._interval_s and waited_s >= _TAKEN_SHARE * self._interval_s:
            return late_s
        self._starved_s += late_s - waited_s
        return waited_s


def _gone(thread: int | None) -> None:
    """Wait until the system has let go of a thread that has ended for Python: until then forking
    seems unsafe, as if it were one that nobody knows.
    """
    deadline = time.perf_counter() + _GONE_S
    while os.path.exists(f"/proc/self/task/{thread}") and time.perf_counter() < deadline:
        time.sleep(_POLITE_S)


def waits_so_far() -> int:
    """How often this thread has had to wait so far, for whatever; 0 where the system counts those
    of whole processes only.
    """
    if sys.platform != "linux":
        return 0
    return resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw


def queued_s(thread: int | None = None) -> float:
    """Seconds this thread, or one of this process by its native number, has waited for a processor
    so far; 0 where the system does not tell.
    """
    place = "thread-self" if thread is None else f"self/task/{thread}"
    try:
        return int(content(f"/proc/{place}/schedstat").split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0


def usable_cores() -> int:
    """Processors that this process may run on; an upper bound that costs nothing to ask for."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def running_threads() -> int:
    """Threads of this process that are on a processor or wait for one, at least this one:
    numerical libraries let theirs spin for a while after the work is done.
    """
    running = 0
    try:
        tasks = os.listdir("/proc/self/task")
        for task in tasks if len(tasks) > 1 else ():
            running += _is_runnable(int(task))
    except OSError:  # not told here
        pass
    return max(1, running)


def _is_runnable(thread: int) -> bool:
    """Whether a thread of this process is on a processor or waits for one, by its native number."""
    try:
        stat = content(f"/proc/self/task/{thread}/stat")
        return stat.rpartition(b")")[2].split()[0] == b"R"
    except (OSError, IndexError):  # not told here, or it has just ended
        return False
