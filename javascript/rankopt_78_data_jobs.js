// The Data page: work in the background, with progress and a stop button.
(function () {
    'use strict';

    const ns = globalThis.rankopt = globalThis.rankopt || {};
    if (ns.DataJobs) return;

    const {h, set, text, button, sleep, duration} = ns.base;
    const BUSY = 700;
    const IDLE = 6000;
    const NO_COUNTS = new Set(['done', 'total', 'collection', 'rows', 'skipped']);
    const WORDS = {feedback: 'answers', known_images: 'images known before', known_feedback: 'answers known before', found: 'found again'};
    const moves = (job) => job.state === 'queued' || job.state === 'running';

    /** "1,200 of 5,000 images, about 2 min left" */
    function progress(job) {
        if (job.state === 'queued') return 'waits for its turn';
        const done = job.done.toLocaleString();
        const amount = job.total ? `${done} of ${job.total.toLocaleString()} ${job.unit}` : job.done ? `${done} ${job.unit}` : '';
        if (job.state === 'failed') return job.error;
        if (job.state === 'stopped') return `stopped at ${amount || 'the beginning'}; what was done stays`;
        if (job.state === 'done') return [amount || 'done', outcome(job)].filter(Boolean).join(': ');
        return [amount, job.eta === null ? '' : `${duration(job.eta)} left`].filter(Boolean).join(', ') || 'begins';
    }

    /** Counts that a job ended with, such as "12 gone, 3 found". */
    function outcome(job) {
        const {look, ...counts} = job.outcome && typeof job.outcome === 'object' ? job.outcome : {};
        return Object.entries({...counts, ...look}).filter(([name, value]) => typeof value === 'number' && value > 0 && !NO_COUNTS.has(name)).map(([name, value]) => `${value.toLocaleString()} ${WORDS[name] || name}`).join(', ');
    }

    class DataJobs {
        /** @param {(job: object) => void} ended is told of every job that has come to its end */
        constructor(api, ended) {
            this.api = api;
            this.ended = ended;
            this.jobs = new Map();
            this.hidden = new Set();
            this.rows = new Map();
            this.element = h('ul', {class: 'ro-jobs', 'aria-label': 'Work in the background'});
        }

        /** Follow the jobs until told to stop. */
        async watch(signal) {
            for (let first = true; !signal.aborted; first = false) {
                try {
                    if (!document.hidden) this.take(await this.api.get(['data', 'jobs'], undefined, signal), first);
                } catch (error) {
                    if (signal.aborted) return;
                }
                const busy = [...this.jobs.values()].some(moves);
                this.wake = null;
                await Promise.race([sleep(busy ? BUSY : IDLE), new Promise((done) => {
                    this.wake = done;
                })]);
            }
        }

        /** A job that was just started here. */
        add(job) {
            this.jobs.set(job.id, job);
            this.draw();
            if (this.wake) this.wake();
        }

        take(jobs, first) {
            for (const job of jobs) {
                const before = this.jobs.get(job.id);
                // what has ended before the page was opened is no news
                if (first && !before && !moves(job)) this.hidden.add(job.id);
                if (!moves(job) && before && moves(before)) this.ended(job);
            }
            this.jobs = new Map(jobs.map((job) => [job.id, job]));
            this.draw();
        }

        draw() {
            const shown = [...this.jobs.values()].filter((job) => !this.hidden.has(job.id));
            for (const [id, row] of this.rows) {
                if (shown.some((job) => job.id === id)) continue;
                row.remove();
                this.rows.delete(id);
            }
            for (const job of shown) this.drawRow(job);
            set(this.element, 'hidden', !shown.length);
        }

        drawRow(job) {
            let row = this.rows.get(job.id);
            if (!row) {
                const bar = h('span', {class: 'ro-meter', role: 'progressbar', 'aria-valuemin': '0', 'aria-valuemax': '100', 'aria-label': job.title}, h('span', {class: 'ro-fill'}));
                row = h('li', {class: 'ro-job'}, h('strong', {}, job.title), bar, h('span', {class: 'ro-words'}), button('What was left out', null, () => ns.openTroubles(this.jobs.get(job.id)), {command: 'data_troubles'}), button('Stop', null, () => this.stop(job.id), {command: 'data_stop'}),
                    button('Dismiss', null, () => {
                        this.hidden.add(job.id);
                        this.draw();
                    }, {class: 'ro-quiet', icon: 'close', iconOnly: true}));
                this.rows.set(job.id, row);
                this.element.prepend(row);
            }
            const [, bar, words, trouble, stop, dismiss] = row.children;
            const share = job.total ? Math.min(1, job.done / job.total) : job.state === 'done' ? 1 : 0;
            bar.firstChild.style.transform = `scaleX(${share})`;
            set(bar, 'aria-valuenow', job.total || !moves(job) ? Math.round(100 * share) : null);
            set(bar, 'hidden', !moves(job));
            text(words, progress(job));
            set(row, 'data-state', job.state);
            set(trouble, 'hidden', moves(job) || !ns.jobTroubles(job.outcome).length);
            set(stop, 'hidden', !moves(job));
            set(dismiss, 'hidden', moves(job));
        }

        async stop(id) {
            try {
                await this.api.post(['data', 'jobs', id, 'stop']);
                ns.toast('It stops after the step under way; what is done stays.');
                if (this.wake) this.wake();
            } catch (error) {
                ns.report(error);
            }
        }
    }

    ns.DataJobs = DataJobs;
}());
