# void swtch(struct context *old, struct context *new): leave off in old, go on in new (proc/proc.h).
# Only what a called function must preserve needs saving; the caller's compiler has saved the rest.
.text

.macro each_saved instruction, base
    \instruction ra, 0(\base)
    \instruction sp, 8(\base)
    .irp    n, 0,1,2,3,4,5,6,7,8,9,10,11
    \instruction s\n, 16+8*\n(\base)
    .endr
.endm

.global swtch
swtch:
    each_saved sd, a0
    each_saved ld, a1
    ret
