// What the pages beside the studies have in common: being on screen or not, their note while the server is away, and patience with it.
(function () {
    'use strict';

    const ns = globalThis.rankopt = globalThis.rankopt || {};
    if (ns.Page) return;

    const {h, set, sleep} = ns.base;

    class Page {
        /**
         * @param {string} name what the record's `page` holds while it is open
         * @param {() => void} home goes back to the studies
         */
        constructor(name, state, home) {
            this.name = name;
            this.state = state;
            this.api = state.api;
            this.home = home;
            this.control = null; // there while the page is on screen, aborted when it leaves
            this.away = h('div', {class: 'ro-banner ro-away', hidden: true}, 'The server is away; trying again. Nothing is lost.');
        }

        /** Show or hide it, as the record says; tells whether it is what is on screen. */
        draw(data) {
            const on = data.page === this.name && !data.study;
            set(this.element, 'hidden', !on);
            set(this.away, 'hidden', data.online);
            if (on && !this.control) {
                this.control = new AbortController();
                this.begin(this.control.signal);
            } else if (!on && this.control) {
                this.control.abort();
                this.control = null;
                this.end();
            }
            return on;
        }

        /** It is on screen now, until the signal is aborted. */
        begin() {}

        /** It is not any more. */
        end() {}

        /** What `read` comes to, tried again while the server is away; undefined where the signal is aborted, or the server refuses, which is said. */
        async patiently(signal, read) {
            for (let wait = 600; !signal.aborted;) {
                try {
                    const found = await read();
                    return signal.aborted ? undefined : found;
                } catch (error) {
                    if (signal.aborted) break;
                    if (!(error instanceof ns.Offline)) {
                        ns.report(error);
                        break;
                    }
                    await sleep(wait);
                    wait = Math.min(wait * 1.6, 15000);
                }
            }
            return undefined;
        }
    }

    ns.Page = Page;
}());
