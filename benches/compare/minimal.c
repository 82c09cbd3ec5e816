/* What nobody can save: the least that an init of several services can be, in C, and the least service. It reads no configuration, says
 * nothing, relays nothing, and knows no limit of restarts.
 *
 *     minimal init -- COMMAND… -- COMMAND…    starts them, starts again whoever ends, passes signals on, ends after them
 *     minimal service BOARD                   stamps its birth on the board, and ends on SIGTERM
 */

#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SERVICES_MAX 1024

/* The words of board.rs. */
enum { BIRTHS = 1, READY = 2, GOODBYES = 3, BIRTH = 64, RUNS_MAX = 1000, WORDS = 64 + 2 * RUNS_MAX };

static uint64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

static int service(const char *path) {
    uint64_t born = now();
    int file = open(path, O_RDWR | O_CLOEXEC);
    uint64_t *words = mmap(0, WORDS * sizeof *words, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    sigset_t wanted;
    int signal;
    if (file < 0 || words == MAP_FAILED)
        return 1;
    sigemptyset(&wanted);
    sigaddset(&wanted, SIGTERM);
    sigprocmask(SIG_BLOCK, &wanted, 0);
    uint64_t run = __atomic_fetch_add(&words[BIRTHS], 1, __ATOMIC_ACQ_REL);
    if (run < RUNS_MAX)
        __atomic_store_n(&words[BIRTH + run], born, __ATOMIC_RELEASE);
    __atomic_fetch_add(&words[READY], 1, __ATOMIC_ACQ_REL);
    sigwait(&wanted, &signal);
    __atomic_fetch_add(&words[GOODBYES], 1, __ATOMIC_ACQ_REL);
    return 0;
}

static char **commands[SERVICES_MAX];
static pid_t pids[SERVICES_MAX];
static int count;
static sigset_t all, before;

static void start(int which) {
    pid_t pid = vfork();
    if (pid == 0) {
        sigprocmask(SIG_SETMASK, &before, 0);
        execv(commands[which][0], commands[which]);
        _exit(127);
    }
    pids[which] = pid;
}

static int init(char **words) {
    int stopping = 0, left;
    for (; *words && count < SERVICES_MAX; words++)
        if (!strcmp(*words, "--")) {
            *words = 0; /* the end of the command before it */
            commands[count++] = words + 1;
        }
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    for (int which = 0; which < count; which++)
        start(which);
    left = count;
    while (left > 0) {
        int signal = sigwaitinfo(&all, 0);
        if (signal != SIGCHLD) {
            stopping |= signal == SIGTERM;
            for (int which = 0; which < count; which++)
                if (pids[which] > 0)
                    kill(pids[which], signal);
            continue;
        }
        for (pid_t pid; (pid = waitpid(-1, 0, WNOHANG)) > 0;)
            for (int which = 0; which < count; which++)
                if (pids[which] == pid) {
                    pids[which] = 0;
                    if (stopping)
                        left--;
                    else
                        start(which);
                    break;
                }
    }
    return 0;
}

/* s6 and runit start ./run; what it is to be stands beside it, a word a line: program, "service", board. */
static int given(void) {
    static char text[4096];
    int file = open("arguments", O_RDONLY | O_CLOEXEC);
    char *board = text;
    if (file < 0 || read(file, text, sizeof text - 1) <= 0)
        return 2;
    for (int line = 0; line < 2; line++) {
        board = strchr(board, '\n');
        if (!board)
            return 2;
        board++;
    }
    board[strcspn(board, "\n")] = 0;
    return service(board);
}

int main(int argc, char **argv) {
    const char *name = strrchr(argv[0], '/');
    if (!strcmp(name ? name + 1 : argv[0], "run"))
        return given();
    if (argc == 3 && !strcmp(argv[1], "service"))
        return service(argv[2]);
    return argc > 2 && !strcmp(argv[1], "init") ? init(argv + 2) : 2;
}
