// The life of the crypto server: process 2 from boot on, started anew when it dies. Implemented by ipc/server.c.
#pragma once

struct proc;

// Makes the process and lets it run. For process 1, once the file system is ready and before it runs /init.
void crypto_srv_init(void);
// What the server does first, in its own context, instead of returning to a program it does not have yet. Returns when
// /crypto_srv is ready to run; without it, does not return.
void crypto_srv_first_run(void);
// p is the server, whatever state it is in; kill() refuses it, exit() calls the next function.
int is_server(struct proc *p);
// At the start of the server's exit(), in its own context with no lock held: 1 with a fresh image to return to user
// mode in, 0 if the server can't be started any more and exit() is to go on.
int server_restart(struct proc *p, int status);
