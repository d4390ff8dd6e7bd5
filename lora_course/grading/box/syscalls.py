"""System calls that a box is refused, with their numbers on x86_64 and aarch64; see jail.seccomp.

The numbers are those of asm/unistd_64.h and asm-generic/unistd.h; "-" is a call that is not there.
"""

# Answered with "not permitted".
REFUSED = """
fork 57 -               vfork 58 -              execve 59 221           execveat 322 281
tkill 200 130           rt_sigqueueinfo 129 138 rt_tgsigqueueinfo 297 240
pidfd_send_signal 424 424   pidfd_open 434 434  pidfd_getfd 438 438
ptrace 101 117          process_vm_readv 310 270    process_vm_writev 311 271
kcmp 312 272            process_madvise 440 440 process_mrelease 448 448
socket 41 198           socketpair 53 199       connect 42 203          bind 49 200
listen 50 201           accept 43 202           accept4 288 242         sendto 44 206
sendmsg 46 211          sendmmsg 307 269        recvmsg 47 212          recvmmsg 299 243
io_uring_setup 425 425  io_uring_enter 426 426  io_uring_register 427 427
unshare 272 97          setns 308 268           mount 165 40            umount2 166 39
pivot_root 155 41       chroot 161 51           open_tree 428 428       move_mount 429 429
fsopen 430 430          fsconfig 431 431        fsmount 432 432         fspick 433 433
mount_setattr 442 442   bpf 321 280             perf_event_open 298 241 userfaultfd 323 282
add_key 248 217         request_key 249 218     keyctl 250 219          fanotify_init 300 262
shmget 29 194           shmat 30 196            shmctl 31 195           mq_open 240 180
msgget 68 186           msgsnd 69 189           msgrcv 70 188           msgctl 71 187
semget 64 190           semop 65 193            semctl 66 191           semtimedop 220 192
mq_unlink 241 181       memfd_create 319 279    memfd_secret 447 447    syslog 103 116
inotify_init 253 -      inotify_init1 294 26
setpriority 141 140     sched_setparam 142 118  sched_setscheduler 144 119
sched_setaffinity 203 122   sched_setattr 314 274   ioprio_set 251 30
migrate_pages 256 238   move_pages 279 239
truncate 76 45          mknod 133 -             mknodat 259 33          open_by_handle_at 304 265
setuid 105 146          setgid 106 144          setreuid 113 145        setregid 114 143
setresuid 117 147       setresgid 119 149       setfsuid 122 151        setfsgid 123 152
setgroups 116 159       capset 126 91           timer_create 222 107    personality 135 92
acct 163 89             quotactl 179 60         reboot 169 142          vhangup 153 58
sync 162 81             syncfs 306 267          modify_ldt 154 -        lookup_dcookie 212 18
swapon 167 224          swapoff 168 225         settimeofday 164 170    clock_settime 227 112
adjtimex 159 171        clock_adjtime 305 266   sethostname 170 161     setdomainname 171 162
init_module 175 105     finit_module 313 273    delete_module 176 106   kexec_load 246 104
"""
# Answered with "done", and not done. Landlock does not stop them, and honest code (shutil.copy)
# calls them.
PRETENDED = """
chmod 90 -              fchmod 91 52            fchmodat 268 53
chown 92 -              fchown 93 55            lchown 94 -             fchownat 260 54
utime 132 -             utimes 235 -            futimesat 261 -         utimensat 280 88
setxattr 188 5          lsetxattr 189 6         fsetxattr 190 7
removexattr 197 14      lremovexattr 198 15     fremovexattr 199 16
"""
# Answered with "no such call": libc has another way. From NEWEST on nobody here has read what
# they do.
UNKNOWN = "clone3 435 435"
NEWEST = 449
# Answered by one of their arguments.
KILL, TGKILL, CLONE = (62, 129), (234, 131), (56, 220)
PRLIMIT, SETRLIMIT, FCNTL, IOCTL = (302, 261), (160, 164), (72, 25), (16, 29)
THREAD = 0x10000  # clone: a thread of this process
OWNER = (8, 10, 15, 1024, 1026)  # fcntl: who is signalled about a file
# ioctl: is it a terminal, its size, what waits in it, closing on exec, not waiting. Everything else
# could change a file that is only open for reading.
HARMLESS = (0x5401, 0x5413, 0x541B, 0x5450, 0x5451, 0x5421)
ENDS = (9, 19, 20, 21, 22)  # signals that end or stop; from outside, they are the machine's doing
CPU_TIME = 0  # the limit that ends a process by signal 9

MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}  # column, name in the kernel


def numbers(table, column):
    """The numbers in one of the tables above. column: 0 for x86_64, 1 for aarch64."""
    words = table.split()
    return [int(n) for n in words[1 + column :: 3] if n != "-"]
