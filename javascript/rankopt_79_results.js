// What a ranking has come to: images from the best to the worst with mean and deviation, and how far raters agree.
(function () {
    'use strict';

    const ns = globalThis.rankopt = globalThis.rankopt || {};
    if (ns.ResultsView) return;

    const {h, set, text, button, plural, sleep} = ns.base;
    const PAGE = 60;
    const THUMB = 320;

    class ResultsView {
        constructor(page) {
            this.page = page;
            this.api = page.api;
            this.control = null;
            this.name = h('h2', {class: 'ro-name'});
            this.progress = h('span', {class: 'ro-dim ro-meta', role: 'status'});
            this.csv = h('a', {class: 'ro-button', 'data-command': 'folder_csv'}, h('span', {class: 'ro-label'}, 'CSV file'));
            const copy = button('Copy its link', null, () => this.copy(), {command: 'folder_copy'});
            this.words = h('p', {class: 'ro-dim', role: 'status'});
            this.raters = h('div', {class: 'ro-agreement'});
            this.list = h('ol', {class: 'ro-ranked-list'});
            this.more = button('Show more', null, () => this.read().catch(ns.report), {command: 'folder_more'});
            this.element = h('section', {class: 'ro-page ro-results', hidden: true},
                h('header', {class: 'ro-bar'}, button('Ranking', 'Escape', () => page.show(''), {icon: 'back', class: 'ro-quiet', command: 'folder_back'}),
                    h('div', {class: 'ro-title'}, this.name, this.progress), h('div', {class: 'ro-toolbar'}, this.csv, copy)),
                this.words, this.raters, this.list, this.more);
        }

        get path() {
            return ['data', 'collections', String(this.page.view.number)];
        }

        drawHead() {
            const {view} = this.page;
            if (!view) return;
            text(this.name, view.name);
            text(this.progress, ns.comparing.progressWords(view.progress));
            set(this.csv, 'href', this.api.url(...this.path, 'results.csv'));
        }

        begin() {
            this.stop();
            this.control = new AbortController();
            this.drawHead();
            this.list.replaceChildren();
            this.raters.replaceChildren();
            set(this.more, 'hidden', true);
            this.fit(this.control.signal).catch(ns.report);
        }

        stop() {
            if (this.control) this.control.abort();
            this.control = null;
        }

        /** Rate by all answers at once, if that was not done since the last one, and show what comes out. */
        async fit(signal) {
            await this.page.ranking.outbox.sending; // what was answered a moment ago counts
            if (signal.aborted) return;
            let view = await this.api.get([...this.path, 'ranking'], undefined, signal);
            if (!view.fitted && view.progress.comparisons) {
                text(this.words, 'Rating by all answers at once…');
                const job = await this.api.post([...this.path, 'rebuild']);
                while (!signal.aborted && view.job && (view.job.id !== job.id || ['queued', 'running'].includes(view.job.state)) && !view.fitted) {
                    await sleep(150);
                    view = await this.api.get([...this.path, 'ranking'], undefined, signal);
                    if (view.job && view.job.id === job.id && view.job.state === 'failed') throw new Error(view.job.error);
                }
            }
            if (signal.aborted) return;
            this.page.adopt(view);
            await this.read();
        }

        /** The next page of images. */
        async read() {
            const {control} = this;
            set(this.more, 'disabled', true); // a second click would read the same page again
            try {
                const found = await this.api.get([...this.path, 'results'], {offset: this.list.children.length, limit: PAGE}, control.signal);
                if (!control.signal.aborted) this.draw(found);
            } finally {
                set(this.more, 'disabled', false);
            }
        }

        draw(found) {
            this.list.append(...found.images.map((one) => this.card(one)));
            set(this.more, 'hidden', this.list.children.length >= found.total);
            const least = 'Mean and standard deviation of each image’s strength: one more means that it is preferred in 73 of 100 comparisons.';
            text(this.words, found.total ? `${plural(found.total, 'image')} compared. ${least}` : 'Nothing has been compared yet.');
            this.drawRaters(found.agreement);
        }

        card(one) {
            const said = `${one.rank}. ${one.name}: ${ns.comparing.strength(one.mean, one.sd)}, ${plural(one.games, 'comparison')}`;
            return h('li', {class: 'ro-ranked-card'}, h('button', {type: 'button', class: 'ro-ranked-open', title: one.prompt || one.name, 'aria-label': said, onclick: () => this.look(one)},
                h('img', {src: this.api.thumb(one.number, THUMB), alt: '', loading: 'lazy'}), h('span', {class: 'ro-rank'}, String(one.rank))),
            h('span', {class: 'ro-strength'}, ns.comparing.strength(one.mean, one.sd)), h('span', {class: 'ro-dim ro-games'}, plural(one.games, 'comparison')));
        }

        look(one) {
            const overlay = new ns.Overlay(one.name, 'ro-viewer');
            overlay.onKey = (command, event) => {
                if (event.key !== 'Escape') return false;
                overlay.close();
                return true;
            };
            overlay.open(h('div', {class: 'ro-viewbar'}, h('span', {class: 'ro-viewtitle'}, `${one.rank}. ${one.name} · ${ns.comparing.strength(one.mean, one.sd)}`),
                button('Close', 'Escape', () => overlay.close(), {icon: 'close', iconOnly: true})),
            h('div', {class: 'ro-whole'}, h('img', {src: this.api.url('data', 'images', String(one.number), 'file'), alt: one.prompt || one.name})));
        }

        drawRaters(agreed) {
            const rows = agreed.raters.filter((one) => agreed.raters.length > 1 || one.repeats).map((one) => h('tr', {}, h('th', {scope: 'row'}, one.rater),
                h('td', {}, String(one.answers)), h('td', {}, ns.comparing.share(one.repeats)), h('td', {}, ns.comparing.share(one.consensus))));
            if (!rows.length) {
                this.raters.replaceChildren();
                return;
            }
            const head = ['Rater', 'Pairs', 'Same answer when shown again', 'As most of the others'].map((one) => h('th', {scope: 'col'}, one));
            const alpha = agreed.alpha === null ? '' : `, Krippendorff’s α ${agreed.alpha.toFixed(2).replace('-', '−')}`;
            const words = agreed.percent ? `Two raters gave the same answer to ${ns.comparing.share(agreed.percent)} of the pairs that both judged${alpha}.` : '';
            this.raters.replaceChildren(h('details', {class: 'ro-more', open: true}, h('summary', {}, 'How far raters agree'), words ? h('p', {}, words) : '',
                h('div', {class: 'ro-scroll-plain'}, h('table', {}, h('thead', {}, h('tr', {}, head)), h('tbody', {}, rows)))));
        }

        async copy() {
            try {
                await navigator.clipboard.writeText(this.csv.href);
                ns.toast('The link to the CSV file has been copied.');
            } catch (_) {
                ns.toast(`The browser does not let this page copy; the link is ${this.csv.href}`, 'long');
            }
        }
    }

    ns.ResultsView = ResultsView;
}());
