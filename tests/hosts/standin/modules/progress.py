"""Jobs by name."""

current_task = None
pending_tasks = {}
finished_tasks = []


def create_task_id(task_type):
    return f"task({task_type}-{len(finished_tasks)})"


def add_task_to_queue(id_job):
    pending_tasks[id_job] = 0.0


def start_task(id_task):
    global current_task
    current_task = id_task
    pending_tasks.pop(id_task, None)


def finish_task(id_task):
    global current_task
    current_task = None
    finished_tasks.append(id_task)
