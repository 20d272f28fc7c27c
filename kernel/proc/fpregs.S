# The 32 floating point registers and fcsr, to and from a struct fpstate (proc/proc.h).
# The only code of the kernel built for a hart with the D extension; sstatus.FS must not be off.
.option arch, +d
.text

.macro each_register instruction
    .irp    n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    \instruction f\n, 8*\n(a0)
    .endr
.endm

.global fp_save
fp_save:
    each_register fsd
    frcsr   t0
    sd      t0, 256(a0)
    ret

.global fp_restore
fp_restore:
    each_register fld
    ld      t0, 256(a0)
    fscsr   t0
    ret
