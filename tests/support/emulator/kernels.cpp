// One of ops/cuda/*.cu compiled for the emulator: its kernels, and a function launch_... for each.

#include PART_FILE

#define LAUNCHER(kernel, name)                                                                                \
    extern "C" void name(uint32 across, uint32 down, uint32 threads, uint32 shared_bytes, void **arguments) { \
        emulator::launch(kernel, across, down, threads, shared_bytes, arguments);                             \
    }

LAUNCHER(KERNEL_0, LAUNCH_0)
#ifdef KERNEL_1
LAUNCHER(KERNEL_1, LAUNCH_1)
#endif
