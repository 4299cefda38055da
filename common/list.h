#ifndef TM_COMMON_LIST_H
#define TM_COMMON_LIST_H
/*
 * Intrusive doubly linked list: the link lives in the element, no allocation, O(1) everything.
 *
 *     struct job { struct list_link link; … };
 *     struct list jobs;
 *     list_init(&jobs);
 *     list_push_back(&jobs, &job->link);
 *     struct job *j;
 *     LIST_FOREACH(j, &jobs, link) …           must not remove j
 *     LIST_FOREACH_SAFE(j, next, &jobs, link) … may remove j
 *
 * A link that is zeroed or was removed is "not linked". The list never owns. A struct list must not
 * be moved while it holds elements. Not thread safe.
 */
#include <stdbool.h>
#include <stddef.h>

struct list_link {
    struct list_link *prev;
    struct list_link *next;
};

struct list {
    struct list_link head; /* of a ring */
    size_t count;
};

static inline void list_init(struct list *l)
{
    l->head.prev = &l->head;
    l->head.next = &l->head;
    l->count = 0;
}

static inline bool list_empty(const struct list *l)
{
    return l->count == 0;
}

static inline bool list_linked(const struct list_link *link)
{
    return link->next != NULL;
}

static inline void list_insert_before_(struct list *l, struct list_link *at, struct list_link *link)
{
    link->prev = at->prev;
    link->next = at;
    at->prev->next = link;
    at->prev = link;
    l->count++;
}

static inline void list_push_back(struct list *l, struct list_link *link)
{
    list_insert_before_(l, &l->head, link);
}

static inline void list_push_front(struct list *l, struct list_link *link)
{
    list_insert_before_(l, l->head.next, link);
}

/* Does nothing when not linked. */
static inline void list_remove(struct list *l, struct list_link *link)
{
    if (!list_linked(link))
        return;
    link->prev->next = link->next;
    link->next->prev = link->prev;
    link->prev = NULL;
    link->next = NULL;
    l->count--;
}

/* First link, removed; NULL when empty. */
static inline struct list_link *list_pop_front(struct list *l)
{
    if (list_empty(l))
        return NULL;
    struct list_link *link = l->head.next;
    list_remove(l, link);
    return link;
}

#define LIST_ENTRY(link_ptr, type, member)                                                         \
    ((type *)(void *)((char *)(link_ptr)-offsetof(type, member)))
#define LIST_FIRST(l, type, member)                                                                \
    (list_empty(l) ? NULL : LIST_ENTRY((l)->head.next, type, member))

#define LIST_FOREACH(var, l, member)                                                               \
    for ((var) = LIST_ENTRY((l)->head.next, __typeof__(*(var)), member);                           \
         &(var)->member != &(l)->head;                                                             \
         (var) = LIST_ENTRY((var)->member.next, __typeof__(*(var)), member))

#define LIST_FOREACH_SAFE(var, following, l, member)                                               \
    for ((var) = LIST_ENTRY((l)->head.next, __typeof__(*(var)), member),                           \
        (following) = LIST_ENTRY((var)->member.next, __typeof__(*(var)), member);                  \
         &(var)->member != &(l)->head; (var) = (following),                                        \
        (following) = LIST_ENTRY((var)->member.next, __typeof__(*(var)), member))

#endif
