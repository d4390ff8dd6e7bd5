"""Room for one box: a disk of its own, its own count of threads, first to go when memory is short.

None of this is a wall that must be there: where the kernel refuses a part, the reaper watches.
"""

import os

from lora_course.grading.box.jail import _call, _libc

DISK, FILES = 256 << 20, 4000  # bytes and files that a box may keep in its folder
THREADS = 400
NEWNS, NEWUSER = 0x20000, 0x10000000


def settle(folder):
    """Makes room for this process, which must have one thread. True: the disk is its own."""
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("1000")
    except OSError:
        pass
    alone = own_user()
    disk, space = own_disk(folder)
    few_threads(alone or space)
    return disk


def own_user():
    """Root's box gets a real user ID that nobody else has; True when it did.

    The kernel counts the threads of a real user, and never those of root. Which files may be read
    follows from the effective one, which stays.
    """
    if not hasattr(os, "setresuid") or os.geteuid() != 0:
        return False
    for user in (1 << 30) + os.getpid(), 60_000 + os.getpid() % 5000:
        try:
            os.setresuid(user, 0, 0)
            return True
        except OSError:  # this container has no such user
            continue
    return False


def own_disk(folder):
    """A tmpfs of fixed size over `folder`, for this process alone; it is gone with the process.

    An ordinary user gets a user namespace for it. Returns (the disk is there, the namespace is).
    """
    space = False
    try:
        libc, user, group = _libc(), os.geteuid(), os.getegid()
        try:
            _call(libc.unshare, NEWNS)
        except OSError:
            _call(libc.unshare, NEWNS | NEWUSER)
            space = True
            for name, words in (
                ("setgroups", "deny"),
                ("uid_map", f"{user} {user} 1"),
                ("gid_map", f"{group} {group} 1"),
            ):
                with open(f"/proc/self/{name}", "w") as file:
                    file.write(words)
        _call(libc.mount, None, b"/", None, 1 << 14 | 1 << 18, None)  # nobody else sees it
        room = f"size={DISK},nr_inodes={FILES},mode=777".encode()
        _call(libc.mount, b"tmpfs", os.fsencode(folder), b"tmpfs", 2 | 4 | 8, room)
        return True, space
    except (OSError, AttributeError):
        return False, space


def few_threads(alone):
    """A limit on threads. alone: nobody else's are counted with those of this process."""
    try:
        import resource

        most = THREADS if alone else 4 * THREADS + threads_of(os.getuid())
        hard = resource.getrlimit(resource.RLIMIT_NPROC)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(resource.RLIMIT_NPROC, (most, most))
    except (ImportError, OSError, ValueError):
        pass  # the reaper counts


def threads_of(user):
    """How many threads of this user there are."""
    count = 0
    for name in filter(str.isdecimal, os.listdir("/proc")):
        try:
            if os.stat(f"/proc/{name}").st_uid == user:
                count += len(os.listdir(f"/proc/{name}/task"))
        except OSError:
            continue
    return count
