/* ptrace(2) for a user-mode Linux that knows less of a processor's register state than the processor has.
 *
 * Such a kernel reads and writes the first bytes of the state (PTRACE_GETREGSET and PTRACE_SETREGSET of NT_X86_XSTATE).
 * A short read is served; a short write is refused with EFAULT, for the state is written whole or not at all. Here the
 * write is made whole. What is added is zero: the header, which is among the first bytes, says which parts are in use,
 * and no program in the guest can ask for those that it does not know (arch_prctl(2) ARCH_REQ_XCOMP_PERM).
 *
 * Loaded before the C library (LD_PRELOAD). User-mode Linux calls ptrace from one thread only.
 */
#define _GNU_SOURCE
#include <elf.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static unsigned char state[1 << 16];
static size_t size; /* of the processor's state in bytes, once it is known */

static long filled_up(pid_t pid, const struct iovec *given)
{
    struct iovec whole = {state, sizeof state};

    if (size == 0) {
        if (syscall(SYS_ptrace, PTRACE_GETREGSET, pid, NT_X86_XSTATE, &whole) < 0)
            return -1;
        size = whole.iov_len;
    }
    if (given->iov_len >= size)
        return syscall(SYS_ptrace, PTRACE_SETREGSET, pid, NT_X86_XSTATE, given);
    memcpy(state, given->iov_base, given->iov_len);
    memset(state + given->iov_len, 0, size - given->iov_len);
    whole.iov_len = size;
    return syscall(SYS_ptrace, PTRACE_SETREGSET, pid, NT_X86_XSTATE, &whole);
}

long ptrace(enum __ptrace_request request, ...)
{
    va_list words;
    va_start(words, request);
    pid_t pid = va_arg(words, pid_t);
    void *address = va_arg(words, void *);
    void *data = va_arg(words, void *);
    va_end(words);

    if (request == PTRACE_SETREGSET && (long)address == NT_X86_XSTATE)
        return filled_up(pid, data);
    if (request == PTRACE_PEEKTEXT || request == PTRACE_PEEKDATA || request == PTRACE_PEEKUSER) {
        /* The system call stores the word; the C library's function returns it (ptrace(2), C library/kernel differences). */
        long word = 0;
        long done = syscall(SYS_ptrace, request, pid, address, &word);
        return done < 0 ? done : word;
    }
    return syscall(SYS_ptrace, request, pid, address, data);
}
