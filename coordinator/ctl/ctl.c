/*
 * The command table, global options, help, and how errors become exit status.
 * Failure modes: unknown command (with a suggestion) and wrong options are usage errors, status 2.
 */
#include "coordinator/ctl/ctl.h"

#include <stdarg.h>

#include "common/suggest.h"
#include "coordinator/ctl/command.h"
#include "proto/spec/spec.h"

static const struct command *const commands[] = {
    &command_apply,   &command_create,  &command_backup, &command_restore,
    &command_log,     &command_storage, &command_get,    &command_describe,
    &command_edit,    &command_delete,  &command_wait,   &command_retry,
    &command_rebuild, &command_nodes,   &command_top,    &command_version,
};

static const struct option_row global_rows[] = {
    {.name = "socket", .value = "PATH", .help = "the coordinator's control socket"},
    {.name = "help", .letter = 'h', .help = "this text"},
};

int ctl_fail(struct ctl *c, const struct tm_err *err)
{
    (void)fflush(c->out); /* what was done comes before what was not, also in one file */
    (void)fprintf(c->err, "tidemark: %s\n", err->msg);
    return tm_err_exit_status(err->code);
}

int ctl_usage(struct ctl *c, const char *command, const char *fmt, ...)
{
    char text[TM_ERR_MSG_MAX];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    size_t len = strlen(text);
    const char *joint = len > 0 && text[len - 1] == '?' ? "" : ";";
    if (command != NULL)
        (void)fprintf(c->err, "tidemark: %s: %s%s see 'tidemark %s --help'\n", command, text, joint,
                      command);
    else
        (void)fprintf(c->err, "tidemark: %s%s see 'tidemark --help'\n", text, joint);
    return CTL_STATUS_USAGE;
}

int ctl_connect(struct ctl *c, struct tm_err *err)
{
    return c->client != NULL ? 0 : client_open(c->socket_path, &c->client, err);
}

const json_t *json_at(const json_t *value, const char *path)
{
    while (value != NULL && *path != '\0') {
        const char *dot = strchrnul(path, '.');
        char key[64];
        (void)snprintf(key, sizeof(key), "%.*s", (int)(dot - path), path);
        value = json_object_get(value, key);
        path = *dot == '.' ? dot + 1 : dot;
    }
    return value;
}

const char *json_text_at(const json_t *value, const char *path)
{
    const char *text = json_string_value(json_at(value, path));
    return text != NULL ? text : "";
}

uint64_t json_u64_at(const json_t *value, const char *path)
{
    json_int_t number = json_integer_value(json_at(value, path));
    return number > 0 ? (uint64_t)number : 0;
}

int kind_of(const char *word, const char **ret_kind, const char **ret_word, struct tm_err *err)
{
    enum resource_kind kind;
    int result = resource_kind_parse(word, &kind, err);
    if (result < 0)
        return result;
    *ret_kind = resource_kind_text(kind);
    *ret_word = resource_kind_word(kind);
    return 0;
}

/* ---- help ---- */

static void print_rows(FILE *out, const struct option_row *rows, size_t count)
{
    for (size_t n = 0; n < count; n++) {
        char left[64];
        char letter[8] = "    ";
        if (rows[n].letter != 0)
            (void)snprintf(letter, sizeof(letter), "-%c, ", rows[n].letter);
        (void)snprintf(left, sizeof(left), "%s--%s%s%s", letter, rows[n].name,
                       rows[n].value != NULL ? " " : "",
                       rows[n].value != NULL ? rows[n].value : "");
        (void)fprintf(out, "  %-32s %s%s\n", left, rows[n].help,
                      rows[n].repeat ? " (may be given again)" : "");
    }
}

static int help_all(struct ctl *c)
{
    (void)fprintf(c->out, "Usage: tidemark [--socket PATH] COMMAND …\n\n"
                          "Backup and recovery of database clusters, by way of the coordinator.\n\n"
                          "Commands:\n");
    for (size_t n = 0; n < TM_ARRAY_LEN(commands); n++)
        (void)fprintf(c->out, "  %-10s %s\n", commands[n]->name, commands[n]->summary);
    (void)fprintf(c->out, "\nOptions:\n");
    print_rows(c->out, global_rows, TM_ARRAY_LEN(global_rows));
    (void)fprintf(c->out,
                  "\nThe socket is --socket, else $TIDEMARK_CONTROL_SOCKET, else %s.\n"
                  "Exit status: 0 ok, 1 failed, 2 usage, 3 not found, 4 daemon not reached, "
                  "5 refused.\n'tidemark COMMAND --help' tells more.\n",
                  CTL_SOCKET_DEFAULT);
    return 0;
}

static int help_one(struct ctl *c, const struct command *command)
{
    (void)fprintf(c->out, "Usage: tidemark %s%s%s%s\n\n%s\n", command->name,
                  command->words[0] != '\0' ? " " : "", command->words,
                  command->option_count > 0 ? " [options]" : "", command->detail);
    (void)fprintf(c->out, "\nOptions:\n");
    print_rows(c->out, command->options, command->option_count);
    print_rows(c->out, global_rows, TM_ARRAY_LEN(global_rows));
    return 0;
}

/* ---- dispatch ---- */

static const struct command *find_command(const char *name)
{
    for (size_t n = 0; n < TM_ARRAY_LEN(commands); n++)
        if (strcmp(commands[n]->name, name) == 0)
            return commands[n];
    return NULL;
}

static int unknown_command(struct ctl *c, const char *name)
{
    struct suggest s;
    suggest_init(&s, name);
    for (size_t n = 0; n < TM_ARRAY_LEN(commands); n++)
        suggest_offer(&s, commands[n]->name);
    const char *best = suggest_best(&s);
    if (best != NULL)
        return ctl_usage(c, NULL, "unknown command '%s', did you mean '%s'?", name, best);
    return ctl_usage(c, NULL, "unknown command '%s'", name);
}

static int run_command(struct ctl *c, const struct command *command, int argc, char **argv)
{
    struct option_row rows[COMMAND_OPTIONS_MAX + TM_ARRAY_LEN(global_rows)];
    struct option_value values[COMMAND_OPTIONS_MAX + TM_ARRAY_LEN(global_rows)];
    size_t own = command->option_count;
    if (own > 0)
        memcpy(rows, command->options, own * sizeof(rows[0]));
    memcpy(rows + own, global_rows, sizeof(global_rows));
    struct option_words words;
    struct tm_err err;
    if (options_parse(rows, own + TM_ARRAY_LEN(global_rows), argc, argv, values, &words, &err) < 0)
        return ctl_usage(c, command->name, "%s", err.msg);
    if (values[own].given)
        c->socket_path = values[own].text;
    if (values[own + 1].given)
        return help_one(c, command);
    return command->run(c, command, values, &words);
}

/* Options before the command. 0 = go on with argv[*at]; else the status to end with, plus one. */
static int global_options(struct ctl *c, int argc, char **argv, int *at)
{
    for (; *at < argc && argv[*at][0] == '-'; (*at)++) {
        const char *word = argv[*at];
        if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0)
            return help_all(c) + 1;
        if (strcmp(word, "--version") == 0) {
            (void)fprintf(c->out, "tidemark %s\n", TM_VERSION);
            return 1;
        }
        if (strcmp(word, "--socket") == 0 && *at + 1 < argc)
            c->socket_path = argv[++*at];
        else if (strncmp(word, "--socket=", 9) == 0)
            c->socket_path = word + 9;
        else
            return ctl_usage(c, NULL, "unknown option '%s'", word) + 1;
    }
    return 0;
}

static int dispatch(struct ctl *c, int argc, char **argv)
{
    int at = 1;
    int ended = global_options(c, argc, argv, &at);
    if (ended > 0)
        return ended - 1;
    if (at == argc)
        return ctl_usage(c, NULL, "a command is missing");
    const char *name = argv[at];
    if (strcmp(name, "help") == 0) {
        const struct command *about = at + 1 < argc ? find_command(argv[at + 1]) : NULL;
        if (at + 1 < argc && about == NULL)
            return unknown_command(c, argv[at + 1]);
        return about != NULL ? help_one(c, about) : help_all(c);
    }
    const struct command *command = find_command(name);
    if (command == NULL)
        return unknown_command(c, name);
    return run_command(c, command, argc - at - 1, argv + at + 1);
}

int ctl_run(struct ctl *c, int argc, char **argv)
{
    int status = dispatch(c, argc, argv);
    client_free(c->client);
    c->client = NULL;
    /* what could not be written was not shown: a full disk must not look like success */
    if (fflush(c->out) != 0 && status == 0) {
        (void)fprintf(c->err, "tidemark: cannot write the output: %s\n", strerror(errno));
        status = 1;
    }
    return status;
}

int ctl_main(int argc, char **argv)
{
    const char *from_environment = getenv("TIDEMARK_CONTROL_SOCKET");
    struct ctl c = {
        .out = stdout,
        .err = stderr,
        .socket_path = from_environment != NULL && from_environment[0] != '\0' ? from_environment
                                                                               : CTL_SOCKET_DEFAULT,
        .terminal = isatty(STDOUT_FILENO) == 1,
    };
    return ctl_run(&c, argc, argv);
}
