/* Lets a process and its children see a processor with AVX2 alone: LD_PRELOAD=./libavx2.so. The instruction CPUID faults, which
 * Linux does for who asks where /proc/cpuinfo says `cpuid_fault`, and the answer leaves out what is newer: AVX-512, AMX, AVX-VNNI. A
 * process that cannot have it so ends. */
#define _GNU_SOURCE
#include <cpuid.h>
#include <signal.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

enum { ARCH_SET_CPUID = 0x1012 };

/* Bits of leaf 7 that are newer than AVX2: of EBX, ECX and EDX of its first part, of EAX and EDX of its second. */
static const unsigned EBX = 0xdc230000, ECX = 0x00005842, EDX = 0x03c0010c, EAX_1 = 0x00200030, EDX_1 = 0x00080530;

static void answer(int number, siginfo_t *info, void *context) {
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    const unsigned char *at = (const unsigned char *)registers[REG_RIP];
    (void)info;
    if (at[0] != 0x0f || at[1] != 0xa2) { /* a fault like any other: met again, and by nobody */
        signal(number, SIG_DFL);
        return;
    }
    const unsigned leaf = (unsigned)registers[REG_RAX], part = (unsigned)registers[REG_RCX];
    unsigned a, b, c, d;
    syscall(SYS_arch_prctl, ARCH_SET_CPUID, 1);
    __cpuid_count(leaf, part, a, b, c, d);
    syscall(SYS_arch_prctl, ARCH_SET_CPUID, 0);
    if (leaf == 7 && part == 0) b &= ~EBX, c &= ~ECX, d &= ~EDX;
    if (leaf == 7 && part == 1) a &= ~EAX_1, d &= ~EDX_1;
    registers[REG_RAX] = a, registers[REG_RBX] = b, registers[REG_RCX] = c, registers[REG_RDX] = d;
    registers[REG_RIP] += 2;
}

__attribute__((constructor)) static void lower(void) {
    struct sigaction action = {.sa_sigaction = answer, .sa_flags = SA_SIGINFO | SA_NODEFER};
    if (sigaction(SIGSEGV, &action, NULL) != 0 || syscall(SYS_arch_prctl, ARCH_SET_CPUID, 0) != 0) {
        perror("libavx2.so: CPUID cannot be made to fault here");
        _exit(3);
    }
}
