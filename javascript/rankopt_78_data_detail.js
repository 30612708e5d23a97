// The Data page: all that is known of one image, beside the gallery or over the page.
(function () {
    'use strict';

    const ns = globalThis.rankopt = globalThis.rankopt || {};
    if (ns.DataDetail) return;

    const {h, set, text, button, ordinal, plural, token} = ns.base;
    const MOVED = 140; // milliseconds that the focus rests before the server is asked
    const SIGNS = {like: '♥', dislike: '✗', unlike: '○', pair: '⇄', ranking: '≡', skip: '–'};

    /** What an answer says of an image. */
    function meaning(event, number) {
        const {tiers} = event;
        const others = tiers.flat().filter((one) => one !== number);
        if (event.kind === 'like') return 'likes it';
        if (event.kind === 'dislike') return 'does not like it';
        if (event.kind === 'unlike') return 'has no opinion any more';
        if (event.kind === 'skip' || !tiers.length) return 'skipped it';
        const place = tiers.findIndex((tier) => tier.includes(number));
        if (event.kind === 'pair') {
            if (tiers.length === 1) return `as good as #${others[0]}`;
            return place === 0 ? `better than #${others[0]}` : `worse than #${others[0]}`;
        }
        const tied = tiers[place] && tiers[place].length > 1 ? ', tied' : '';
        return `${ordinal(place + 1)} of ${others.length + 1}${tied}`;
    }

    function when(iso) {
        const date = new Date(iso);
        return Number.isNaN(date.getTime()) ? iso : date.toLocaleString([], {dateStyle: 'medium', timeStyle: 'short'});
    }

    class DataDetail {
        /** @param {ns.DataGallery} gallery is told of what has changed */
        constructor(page, gallery) {
            this.page = page;
            this.gallery = gallery;
            this.number = null;
            this.element = h('div', {class: 'ro-detail'});
        }

        /** Show an image, a moment after the focus has come to rest. */
        show(number) {
            this.number = number;
            clearTimeout(this.timer);
            if (number === null) {
                this.element.replaceChildren(h('p', {class: 'ro-dim'}, 'Choose an image with the arrow keys.'));
                return;
            }
            this.timer = setTimeout(() => this.read(number), MOVED);
        }

        async read(number) {
            if (!this.element.getClientRects().length) return; // a narrow page has no room for it
            try {
                const detail = await this.page.api.get(['data', 'images', number]);
                if (this.number === number) this.draw(detail);
            } catch (error) {
                if (this.number === number) this.element.replaceChildren(h('p', {class: 'ro-refusal'}, error.message));
            }
        }

        draw(detail) {
            const {image} = detail;
            const fact = (name, value) => (value ? [h('dt', {}, name), h('dd', {}, value)] : []);
            const rating = image.rating ? `${image.rating.mean.toFixed(2)} ± ${image.rating.sd.toFixed(2)} after ${plural(image.rating.games, 'comparison')}` : '';
            const size = image.width ? `${image.width} × ${image.height}` : '';
            const about = Object.entries(detail.about || {}).filter(([, value]) => value !== null && value !== '');
            const parts = [
                h('img', {class: 'ro-detail-image', alt: image.prompt.slice(0, 200) || `Image ${image.number}`, src: this.page.api.thumb(image.number, 640), onerror: (event) => set(event.target, 'hidden', true)}),
                h('p', {class: 'ro-detail-prompt'}, image.prompt || h('em', {class: 'ro-dim'}, 'no caption')),
                image.contradictory ? h('p', {class: 'ro-detail-note'}, 'Raters disagree about this image; objectives on labels leave it out.') : null,
                h('dl', {class: 'ro-facts'}, fact('Number', `#${image.number} of “${detail.collection_name}”`), fact('Name', image.key), fact('Labels', ns.dataWords.labelWords(image)),
                    fact('Compared', ns.dataWords.record(image)), fact('Rating', rating), fact('Size', size), fact('Made by', image.model), fact('File', ns.dataWords.STATES[image.state])),
                this.same(detail), this.events(detail),
                about.length ? h('details', {class: 'ro-more'}, h('summary', {}, 'What its data set says'), h('dl', {class: 'ro-facts'}, about.map(([name, value]) => fact(name, typeof value === 'object' ? JSON.stringify(value) : String(value))))) : null,
            ];
            this.element.replaceChildren(...parts.filter(Boolean));
        }

        same(detail) {
            if (!detail.same.length) return null;
            return h('div', {class: 'ro-same'}, h('h3', {}, 'The same file or pixels'), h('div', {class: 'ro-same-row'}, detail.same.slice(0, 12).map((number) => h('img', {src: this.page.api.thumb(number, 128), alt: `Image ${number}`, title: `#${number}`, loading: 'lazy'}))));
        }

        events(detail) {
            const {image, events} = detail;
            if (!events.length) return h('p', {class: 'ro-dim'}, 'Nobody has said anything about it.');
            const row = (event) => h('li', {class: 'ro-event', 'data-event': event.number},
                h('span', {class: 'ro-event-sign', 'aria-hidden': 'true'}, SIGNS[event.kind] || '·'),
                h('span', {class: 'ro-event-words'}, h('span', {}, h('strong', {}, event.rater), ` ${event.kind === 'pair' || event.kind === 'ranking' ? 'said ' : ''}${meaning(event, image.number)}`, event.source ? h('span', {class: 'ro-pill'}, event.source) : null),
                    h('span', {class: 'ro-dim'}, when(event.created_at))),
                event.rater === this.page.rater ? button('Take back', null, () => this.takeBack(image.number, event), {class: 'ro-quiet', command: 'data_take_back'}) : null);
            return h('div', {class: 'ro-events'}, h('h3', {}, 'What was said'), h('ul', {}, [...events].reverse().map(row)));
        }

        async takeBack(number, event) {
            try {
                const detail = await this.page.api.persist('POST', ['data', 'images', number, 'retractions'], {event: event.number, rater: this.page.rater, token: token()});
                if (this.number === number) this.draw(detail);
                this.gallery.adopt([detail.image]);
                ns.say('Taken back.');
            } catch (error) {
                ns.report(error);
            }
        }
    }

    /** An image by itself, as large as the window, with all that is known of it. */
    class DataLook {
        constructor(page, gallery) {
            this.page = page;
            this.gallery = gallery;
            this.detail = new DataDetail(page, {adopt: (images) => gallery.adopt(images)});
            this.image = h('img', {class: 'ro-look-image', alt: '', onerror: () => text(this.lost, 'There is no file of this image here, only what is known of it.'), onload: () => text(this.lost, '')});
            this.lost = h('p', {class: 'ro-dim ro-look-lost'});
            this.title = h('span', {class: 'ro-viewtitle'});
            const tool = (label, key, run, icon) => button(label, key, () => run(), {icon, iconOnly: true});
            this.overlay = new ns.Overlay('One image', 'ro-viewer ro-look');
            this.overlay.onKey = (command, event) => this.key(event);
            gallery.looking = this;
            this.overlay.onClose = () => {
                gallery.looking = null;
                clearTimeout(this.detail.timer);
                gallery.focusOn(gallery.focus, true);
            };
            this.overlay.open(h('div', {class: 'ro-viewbar'}, tool('Previous', '←', () => this.move('ArrowLeft'), 'back'), this.title,
                tool('Like', 'L', () => this.act('l'), 'like'), tool('Dislike', 'X', () => this.act('x'), 'dislike'), tool('Caption', 'E', () => this.act('e'), 'pen'), tool('Remove', 'D', () => this.act('d'), 'bin'),
                tool('Close', 'Esc', () => this.overlay.close(), 'close')),
            h('div', {class: 'ro-look-body'}, h('div', {class: 'ro-look-stage', tabindex: '-1'}, this.image, this.lost), h('div', {class: 'ro-look-side', tabindex: '0', 'aria-label': 'About the image'}, this.detail.element)));
            this.image.parentElement.focus();
            this.draw();
        }

        draw() {
            const number = this.gallery.focus;
            if (number === null) {
                this.overlay.close();
                return;
            }
            const {image} = this.gallery.cells.get(number);
            const src = this.page.api.url('data', 'images', number, 'file');
            if (this.image.getAttribute('src') !== src) text(this.lost, '');
            set(this.image, 'src', src);
            set(this.image, 'alt', image.prompt.slice(0, 200) || `Image ${number}`);
            text(this.title, image.key);
            this.detail.show(number);
        }

        move(direction) {
            const next = this.gallery.neighbour(this.gallery.focus, direction);
            if (next === undefined || next === this.gallery.focus) return;
            this.gallery.focusOn(next, false);
            this.draw();
        }

        async act(name) {
            const {gallery} = this;
            gallery.unpick(); // here a key is about the image on screen alone
            await ({l: () => gallery.label('like'), x: () => gallery.label('dislike'), d: () => gallery.drop(), e: () => gallery.caption(), u: () => gallery.undrop()}[name])();
            this.draw();
        }

        key(event) {
            if (event.ctrlKey || event.altKey || event.metaKey) return false;
            const name = event.key.toLowerCase();
            if (event.key === 'ArrowLeft' || event.key === 'ArrowRight') this.move(event.key);
            else if (name === 'enter') this.overlay.close();
            else if ('lxdeu'.includes(name) && name.length === 1 && !event.repeat) this.act(name);
            else return false;
            return true;
        }
    }

    ns.DataDetail = DataDetail;
    ns.DataLook = DataLook;
}());
